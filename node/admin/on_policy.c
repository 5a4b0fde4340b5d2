/* Handlers about the cluster's policy. What is applied was parsed and compiled here first, so that a wrong
 * document never enters the log. Admin threads.
 */
#include "node/admin/member.h"

#include "base/err.h"
#include "node/policy/policy.h"

#include <errno.h>
#include <sys/random.h>

#define WHY_MAX (256u << 10)

/* ---- the policies that are kept ------------------------------------------------------------------------ */

/* Of this version; 0: the one in force. What it points to is in the state: with machine_read_lock held. */
static bool find_version(const struct machine *m, uint64_t version, struct directory_policy *out)
{
    for (uint32_t back = 0; directory_policy(m, back, out); back++)
        if (version == 0 || out->version == version)
            return true;
    *out = (struct directory_policy){ .text = policy_builtin() };
    return version == 0;
}

/* A copy of the text, and the version that it has. */
static int copy_version(struct admin_call *c, struct machine *m, uint64_t version, struct buf *text,
                        uint64_t *got)
{
    struct directory_policy p;
    machine_read_lock(m);
    bool found = find_version(m, version, &p);
    if (found)
        buf_put_span(text, p.version == 0 ? policy_builtin() : p.text);
    *got = p.version;
    machine_read_unlock(m);
    if (!found)
        return admin_fail(&c->e, ERR_NOT_FOUND,
                          "there is no policy %llu any more: turnpike policy history shows them",
                          (unsigned long long)version);
    return buf_err(text);
}

static void put_version(struct json_out *j, const struct directory_policy *p)
{
    json_out_u64(j, "version", p->version);
    json_out_opt(j, "who", p->who);
    json_out_opt(j, "note", p->note);
    json_out_time(j, "at_ms", p->wall_ms);
}

/* Without its secret: what cannot be read is not shown either. */
static void put_text(struct json_out *j, struct span text)
{
    struct buf shown;
    buf_init(&shown, POLICY_TEXT_MAX + sizeof POLICY_HIDDEN + 2);
    if (policy_hide(text, &shown, NULL) == 0)
        json_out_span(j, "text", buf_span(&shown));
    buf_fini(&shown);
}

int admin_on_policy(struct admin_call *c)
{
    uint64_t version = (uint64_t)admin_arg_int(c->args, "version", 0);
    struct directory_policy p, newest;
    struct json_out j;
    struct machine *m;
    int err = member_fresh(c, &m);
    if (err != 0)
        return err;
    json_out_begin(&j, &c->out);
    machine_read_lock(m);
    find_version(m, 0, &newest);
    bool found = find_version(m, version, &p);
    if (found) {
        put_version(&j, &p);
        json_out_bool(&j, "in_force", p.version == newest.version);
        put_text(&j, p.version == 0 ? policy_builtin() : p.text);
    }
    machine_read_unlock(m);
    json_out_end(&j);
    if (!found)
        return admin_fail(&c->e, ERR_NOT_FOUND,
                          "there is no policy %llu any more: turnpike policy history shows them",
                          (unsigned long long)version);
    return 0;
}

int admin_on_policy_history(struct admin_call *c)
{
    struct directory_policy p;
    struct json_out j;
    struct machine *m;
    int err = member_fresh(c, &m);
    if (err != 0)
        return err;
    json_out_begin(&j, &c->out);
    json_out_open(&j, "policies", '[');
    machine_read_lock(m);
    for (uint32_t back = 0; directory_policy(m, back, &p); back++) {
        json_out_open(&j, NULL, '{');
        put_version(&j, &p);
        json_out_bool(&j, "in_force", back == 0);
        json_out_u64(&j, "bytes", p.text.n);
        json_out_close(&j, '}');
    }
    machine_read_unlock(m);
    json_out_close(&j, ']');
    return json_out_end(&j);
}

/* ---- reading a document -------------------------------------------------------------------------------- */

/* All faults, which an error's one line has no room for. */
static int say_faults(struct admin_call *c, const struct buf *why)
{
    struct json_out j;
    struct span all = buf_span(why);
    const char *end = all.n > 0 ? memchr(all.p, '\n', all.n) : NULL;
    struct span first = end != NULL ? span_of(all.p, (size_t)(end - all.p)) : SPAN_LIT("the policy is wrong");
    json_out_begin(&j, &c->out);
    json_out_open(&j, "error", '{');
    json_out_str(&j, "code", admin_code_of(400));
    json_out_span(&j, "message", first);
    json_out_close(&j, '}');
    json_out_split(&j, "faults", all, '\n'); /* "name:3: reason" */
    json_out_close(&j, '}');
    c->status = 400;
    return buf_put_char(&c->out, '\n');
}

/* 0 and *out; or 0 and NULL: the faults are said already; or an error. */
static int read_document(struct admin_call *c, const char *name, struct span text, struct policy **out)
{
    struct buf why;
    buf_init(&why, WHY_MAX);
    int err = policy_parse(name, text, out, &why);
    if (err == ERR_BAD)
        err = say_faults(c, &why);
    else if (err != 0)
        admin_fail(&c->e, err, "out of memory");
    buf_fini(&why);
    return err;
}

/* What is in force now, and what differs from it. */
static int diff_in_force(struct admin_call *c, struct machine *m, const struct policy *p, uint64_t *version,
                         struct buf *diff)
{
    struct policy *now = NULL;
    struct buf text, why;
    buf_init(&text, POLICY_TEXT_MAX);
    buf_init(&why, WHY_MAX);
    int err = copy_version(c, m, 0, &text, version);
    if (err == 0)
        err = policy_parse("policy in force", buf_span(&text), &now, &why);
    if (err == 0)
        err = policy_diff(now, p, diff);
    else if (why.len > 0)
        admin_fail(&c->e, err, "%.*s", (int)(why.len < 400 ? why.len : 400), why.data);
    policy_rele(now);
    buf_fini(&text);
    buf_fini(&why);
    return err;
}

struct pool_named {
    const char *name;
    bool found;
};

static int on_pool(void *arg, const struct directory_pool *p)
{
    struct pool_named *n = arg;
    n->found |= span_eq(p->name, span_str(n->name));
    return n->found;
}

static bool pool_missing(struct machine *m, const char *name)
{
    struct pool_named n = { .name = name };
    if (name == NULL || name[0] == '\0')
        return false;
    directory_pool_each(m, on_pool, &n);
    return !n.found;
}

/* Nodes that could not read it would keep the policy before it, each by itself. True: `why` has what it needs. Leaves out
 * of it what a cluster of a lower level may go without. */
static bool needs_more(struct machine *m, struct policy *p, char why[256])
{
    const char *key;
    machine_read_lock(m);
    uint32_t level = machine_features(m);
    machine_read_unlock(m);
    policy_for_level(p, level);
    uint32_t needs = policy_needs(p, &key);
    if (level < needs)
        snprintf(why, 256, "%s needs feature level %u, the cluster is at %u: see `turnpike cluster raise`", key, needs,
                 level);
    return level < needs;
}

/* What `apply` would refuse; that mail of a class whose pool has no address waits, and what a rule would move stays: worth
 * a word before it does. */
static void put_warnings(struct json_out *j, struct machine *m, struct policy *p)
{
    char text[256];
    json_out_open(j, "warnings", '[');
    if (needs_more(m, p, text))
        json_out_str(j, NULL, text);
    machine_read_lock(m);
    for (int i = 0; i < POLICY_CLASSES; i++) {
        snprintf(text, sizeof(text),
                 "there is no pool %s for mail of class %s: make it with turnpike pool add",
                 p->classes[i].pool, member_class_name((uint8_t)i));
        if (pool_missing(m, p->classes[i].pool))
            json_out_str(j, NULL, text);
    }
    for (uint32_t i = 0; i < shaping_rules_count(p->rules); i++) {
        const struct shaping_rule *r = shaping_rules_at(p->rules, i);
        snprintf(text, sizeof(text),
                 "there is no pool %s for what rule %s moves: make it with turnpike pool add",
                 r->to != NULL ? r->to : "", r->name);
        if (pool_missing(m, r->to))
            json_out_str(j, NULL, text);
    }
    for (uint32_t i = 0; i < p->npools; i++) {
        const struct policy_pool *pool = &p->pools[i];
        snprintf(text, sizeof(text), "there is no pool %s for pools[%u]: make it with turnpike pool add",
                 pool_missing(m, pool->name) ? pool->name : pool->to, i);
        if (pool_missing(m, pool->name) || pool_missing(m, pool->to))
            json_out_str(j, NULL, text);
    }
    machine_read_unlock(m);
    json_out_close(j, ']');
}

/* What `p` changes, or has changed, against the version in force. */
static void put_change(struct admin_call *c, struct machine *m, uint64_t version, struct span diff,
                       struct policy *p)
{
    struct json_out j;
    json_out_begin(&j, &c->out);
    json_out_u64(&j, "version", version);
    json_out_split(&j, "diff", diff, '\n');
    put_warnings(&j, m, p);
    json_out_end(&j);
}

int admin_on_policy_diff(struct admin_call *c)
{
    struct policy *p = NULL;
    struct machine *m;
    struct buf diff;
    uint64_t version = 0;
    int err = member_fresh(c, &m);
    if (err == 0)
        err = read_document(c, admin_arg_str(c->args, "name"), span_str(admin_arg_str(c->args, "text")), &p);
    if (err != 0 || p == NULL)
        return err;
    buf_init(&diff, WHY_MAX);
    err = diff_in_force(c, m, p, &version, &diff);
    put_change(c, m, version, buf_span(&diff), p);
    buf_fini(&diff);
    policy_rele(p);
    return err;
}

/* ---- a server's reply ---------------------------------------------------------------------------------- */

int member_policy(struct admin_call *c, struct policy **out)
{
    struct machine *m;
    struct buf text, why;
    uint64_t version;
    buf_init(&text, POLICY_TEXT_MAX);
    buf_init(&why, WHY_MAX);
    int err = member_is(c) ? member_machine(c, &m) : buf_put_span(&text, policy_builtin());
    if (err == 0 && member_is(c))
        err = copy_version(c, m, 0, &text, &version);
    if (err == 0)
        err = policy_parse("policy in force", buf_span(&text), out, &why);
    buf_fini(&text);
    buf_fini(&why);
    return err;
}

int member_policy_secret(struct admin_call *c, struct buf *secret)
{
    struct machine *m;
    struct buf text, shown;
    uint64_t version = 0;
    buf_init(&text, POLICY_TEXT_MAX);
    buf_init(&shown, POLICY_TEXT_MAX + sizeof POLICY_HIDDEN + 2);
    int err = member_fresh(c, &m);
    if (err == 0)
        err = copy_version(c, m, 0, &text, &version);
    if (err == 0)
        err = policy_hide(buf_span(&text), &shown, secret);
    if (err == 0 && secret->len == 0)
        err = admin_fail(&c->e, ERR_NOT_FOUND, "the policy in force has no bounces.key");
    if (text.data != NULL)
        explicit_bzero(text.data, text.cap);
    buf_fini(&text);
    buf_fini(&shown);
    return err;
}

static void put_rule(struct json_out *j, const char *stage, const struct shaping_rule *rule)
{
    struct buf words;
    buf_init(&words, 65536);
    json_out_open(j, NULL, '{');
    json_out_str(j, "stage", stage);
    if (rule != NULL) {
        policy_put_rule(&words, rule);
        json_out_str(j, "rule", rule->name);
        json_out_str(j, "action", shaping_action_names[rule->action]);
        json_out_span(j, "words", buf_span(&words));
    }
    json_out_close(j, '}');
    buf_fini(&words);
}

int admin_on_policy_test_reply(struct admin_call *c)
{
    struct policy *p = NULL;
    struct json_out j;
    const char *stage = admin_arg_str(c->args, "stage");
    struct span text = span_str(admin_arg_str(c->args, "text"));
    struct shaping_reply about = { .site = span_str(admin_arg_str(c->args, "site")),
                                   .mx = span_str(admin_arg_str(c->args, "mx")),
                                   .pool = span_str(admin_arg_str(c->args, "pool")) };
    int err = member_policy(c, &p);
    if (err != 0)
        return err;
    json_out_begin(&j, &c->out);
    json_out_open(&j, "answers", '[');
    for (about.stage = 0; err == 0 && about.stage < SHAPING_ANY; about.stage++) {
        const char *name = shaping_stage_names[about.stage];
        const struct shaping_rule *rule;
        if (stage != NULL && strcmp(stage, "any") != 0 && strcmp(stage, name) != 0)
            continue;
        err = policy_test_reply(p, &about, text, &rule);
        if (err == 0)
            put_rule(&j, name, rule);
    }
    json_out_close(&j, ']');
    json_out_end(&j);
    policy_rele(p);
    return err == ERR_BAD ? admin_fail(&c->e, ERR_BAD, "the reply has to begin with a code from 400 to 599")
                          : err;
}

/* ---- applying ------------------------------------------------------------------------------------------ */

/* The text, then what was compiled from it, in chunks. */
static int upload(struct admin_call *c, const uint8_t id[16], struct span all, uint32_t *chunks)
{
    int err = 0;
    for (*chunks = 0; err == 0 && all.n > 0; (*chunks)++) {
        struct command cmd = { .type = COMMAND_POLICY_CHUNK };
        size_t n = all.n < COMMAND_CHUNK_MAX ? all.n : COMMAND_CHUNK_MAX;
        memcpy(cmd.policy_chunk.upload, id, 16);
        cmd.policy_chunk.number = *chunks;
        cmd.policy_chunk.bytes = span_of(all.p, n);
        err = member_submit(c, &cmd, NULL);
        all = span_sub(all, n);
    }
    return err;
}

static int commit(struct admin_call *c, struct span text, const struct policy *p, uint64_t version,
                  const char *note, uint64_t *made)
{
    struct command cmd = { .type = COMMAND_POLICY_COMMIT };
    struct command_policy_commit *pc = &cmd.policy_commit;
    struct machine_result result = { 0 };
    struct buf all;
    buf_init(&all, POLICY_TEXT_MAX + (1u << 20));
    buf_put_span(&all, text);
    int err = policy_encode(&p->compiled, &all);
    if (err == 0 && getrandom(pc->upload, sizeof(pc->upload), 0) != sizeof(pc->upload))
        err = -errno;
    if (err != 0)
        admin_fail(&c->e, err, "the policy cannot be encoded: %s", err_text(err));
    if (err == 0)
        err = upload(c, pc->upload, buf_span(&all), &pc->chunks);
    pc->by.version = version;
    pc->text_bytes = text.n;
    pc->compiled_bytes = all.len - text.n;
    pc->note = note != NULL ? span_str(note) : span_of("", 0);
    if (err == 0)
        err = member_submit(c, &cmd, &result);
    *made = result.id;
    buf_fini(&all);
    return err;
}

/* What the policy needs to do what it says: each is made where the cluster has none. */
static int make_secrets(struct admin_call *c, const struct policy *p)
{
    const struct {
        const char *use;
        bool needed;
    } uses[] = { { "bounces", p->bounces.domain[0] != '\0' && !p->bounces.has_key },
                 { "domains", p->domains.prove != POLICY_PROVE_OFF },
                 { "srs", p->forwarding.domain[0] != '\0' } };
    int err = 0;
    for (size_t i = 0; err == 0 && i < sizeof uses / sizeof uses[0]; i++)
        if (uses[i].needed && c->cluster->secret_ensure != NULL)
            err = c->cluster->secret_ensure(c->cluster_ctx, c->caller, uses[i].use, &c->e);
    return err;
}

static int apply(struct admin_call *c, struct machine *m, const char *name, struct span text,
                 const char *note)
{
    uint64_t seen = (uint64_t)admin_arg_int(c->args, "version", 0), version = 0;
    struct policy *p = NULL;
    struct buf diff;
    char why[256];
    int err = read_document(c, name, text, &p);
    if (err != 0 || p == NULL)
        return err;
    buf_init(&diff, WHY_MAX);
    err = diff_in_force(c, m, p, &version, &diff);
    if (err == 0 && seen != 0 && seen != version)
        err = admin_fail(
            &c->e, ERR_BUSY,
            "another policy (%llu) is in force than the one that you saw (%llu): look at turnpike policy "
            "diff, then repeat",
            (unsigned long long)version, (unsigned long long)seen);
    if (err == 0 && needs_more(m, p, why))
        err = admin_fail(&c->e, ERR_DENIED, "%s", why);
    if (err == 0)
        err = make_secrets(c, p);
    if (err == 0)
        err = commit(c, text, p, version, note, &version);
    put_change(c, m, version, buf_span(&diff), p);
    buf_fini(&diff);
    policy_rele(p);
    return err;
}

int admin_on_policy_apply(struct admin_call *c)
{
    struct machine *m;
    int err = member_fresh(c, &m);
    return err != 0 ? err
                    : apply(c, m, admin_arg_str(c->args, "name"), span_str(admin_arg_str(c->args, "text")),
                            admin_arg_str(c->args, "note"));
}

/* An older one becomes the newest: nothing is forgotten by going back. */
int admin_on_policy_rollback(struct admin_call *c)
{
    uint64_t to = (uint64_t)admin_arg_int(c->args, "to", 0), got;
    struct machine *m;
    struct buf text;
    char note[64];
    int err = member_fresh(c, &m);
    if (err != 0)
        return err;
    buf_init(&text, POLICY_TEXT_MAX);
    snprintf(note, sizeof(note), "back to %llu", (unsigned long long)to);
    err = copy_version(c, m, to, &text, &got);
    if (err == 0)
        err = apply(c, m, "policy", buf_span(&text), note);
    buf_fini(&text);
    return err;
}
