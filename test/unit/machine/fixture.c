/* A founded machine and short ways to give it commands. */
#include "test/unit/machine/fixture.h"

#include "consensus/quota.h"

#include <stdio.h>
#include <stdlib.h>

void fix_apply_all(struct fix *f, const struct command *cmds, uint32_t n)
{
    buf_reset(&f->entry);
    assert_int_equal(command_entry_begin(&f->entry, f->now_ms), 0);
    for (uint32_t i = 0; i < n; i++)
        assert_int_equal(command_encode(&cmds[i], &f->entry), 0);
    assert_int_equal(command_entry_end(&f->entry, n), 0);
    f->index++;
    if (f->keep) {
        buf_put_u64(&f->log, f->index);
        buf_put_counted(&f->log, buf_span(&f->entry));
        assert_int_equal(buf_err(&f->log), 0);
    }
    assert_int_equal(machine_apply(f->m, f->index, f->entry.data, f->entry.len, &f->fx), 0);
}

const struct machine_result *fix_apply(struct fix *f, const struct command *cmd)
{
    fix_apply_all(f, cmd, 1);
    const struct machine_result *r = NULL;
    for (uint32_t i = 0; i < f->fx.n; i++)
        if (f->fx.items[i].is_result) {
            assert_null(r);
            r = &f->fx.items[i].result;
        }
    assert_non_null(r);
    return r;
}

uint32_t fix_changes(const struct fix *f, enum machine_change change, struct machine_effect *last)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < f->fx.n; i++) {
        if (f->fx.items[i].is_result || f->fx.items[i].change != change)
            continue;
        n++;
        if (last != NULL)
            *last = f->fx.items[i];
    }
    return n;
}

void fix_limit(struct policy_compiled *p, const char *name, uint8_t scope, uint64_t count, uint64_t window_ms)
{
    struct policy_limit *l = &p->limits[p->nlimits++];
    *l = (struct policy_limit){ .scope = scope, .classes = 7, .count = count, .window_ms = window_ms };
    snprintf(l->name, sizeof l->name, "%s", name);
}

void fix_policy_plain(struct policy_compiled *p)
{
    policy_default(p);
    p->nlimits = 0;
    fix_limit(p, "hour", COMMAND_SCOPE_ACCOUNT, 200, HOUR_MS);
    fix_limit(p, "tenant-hour", COMMAND_SCOPE_TENANT, 1000, HOUR_MS);
}

void fix_policy(struct fix *f, const struct policy_compiled *p)
{
    struct buf b;
    buf_init(&b, COMMAND_CHUNK_MAX);
    buf_put_str(&b, "# a policy\n");
    size_t text = b.len;
    assert_int_equal(policy_encode(p, &b), 0);
    struct command cmd = { .type = COMMAND_POLICY_CHUNK };
    uint8_t upload[16] = { 1 };
    memcpy(upload + 8, &f->index, sizeof f->index);
    memcpy(cmd.policy_chunk.upload, upload, sizeof upload);
    cmd.policy_chunk.bytes = buf_span(&b);
    assert_int_equal(fix_apply(f, &cmd)->err, 0);
    struct command commit = { .type = COMMAND_POLICY_COMMIT };
    commit.policy_commit.by.who = SPAN_LIT("test");
    memcpy(commit.policy_commit.upload, upload, sizeof upload);
    commit.policy_commit.chunks = 1;
    commit.policy_commit.text_bytes = text;
    commit.policy_commit.compiled_bytes = b.len - text;
    assert_int_equal(fix_apply(f, &commit)->err, 0);
    buf_fini(&b);
}

void fix_init_with(struct fix *f, const struct machine_config *config)
{
    *f = (struct fix){ .now_ms = 1000000 };
    f->m = machine_new(config);
    assert_non_null(f->m);
    machine_effects_init(&f->fx);
    buf_init(&f->entry, COMMAND_ENTRY_BYTES_MAX);
    buf_init(&f->log, SIZE_MAX);
    f->keep = true;
    struct command cmd = { .type = COMMAND_CLUSTER_INIT };
    cmd.cluster_init = (struct command_cluster_init){
        .epoch = 1,
        .ca_certificate = SPAN_LIT("certificate"),
        .ca_key = SPAN_LIT("key"),
        .name = SPAN_LIT("n1"),
        .raft_address = SPAN_LIT("127.0.0.1:7001"),
        .gossip_address = SPAN_LIT("127.0.0.1:8001"),
        .certificate_sha256 = SPAN_LIT("0123456789abcdef0123456789abcdef"),
        .version = SPAN_LIT("1"),
        .features = 1,
    };
    const struct machine_result *r = fix_apply(f, &cmd);
    assert_int_equal(r->err, 0);
    assert_int_equal(r->id, 1);
    struct policy_compiled p;
    fix_policy_plain(&p);
    fix_policy(f, &p);
}

void fix_init(struct fix *f)
{
    fix_init_with(f, &(struct machine_config){ 0 });
}

void fix_fini(struct fix *f)
{
    quota_check(f->m);
    machine_free(f->m);
    machine_effects_fini(&f->fx);
    buf_fini(&f->entry);
    buf_fini(&f->log);
}

uint64_t fix_join(struct fix *f)
{
    char name[32], raft[64], gossip[64], token[32];
    unsigned n = (unsigned)f->index;
    snprintf(name, sizeof name, "n-%u", n);
    snprintf(raft, sizeof raft, "127.0.0.1:%u", 10000 + n);
    snprintf(gossip, sizeof gossip, "127.0.0.1:%u", 40000 + n);
    snprintf(token, sizeof token, "token-%u", n);
    struct command add = { .type = COMMAND_TOKEN_ADD };
    add.token_add =
        (struct command_token_add){ .by.who = SPAN_LIT("test"), .id = span_str(token), .for_ms = 60000 };
    assert_int_equal(fix_apply(f, &add)->err, 0);
    struct command join = { .type = COMMAND_MEMBER_JOIN };
    join.member_join = (struct command_member_join){
        .token = span_str(token),
        .name = span_str(name),
        .raft_address = span_str(raft),
        .gossip_address = span_str(gossip),
        .version = SPAN_LIT("1"),
        .features = 1,
    };
    const struct machine_result *r = fix_apply(f, &join);
    assert_string_equal(r->words, "");
    assert_int_equal(r->err, 0);
    return r->id;
}

uint64_t fix_open(struct fix *f, uint64_t node, uint64_t replaces, bool new_process, uint8_t nonce)
{
    struct command cmd = { .type = COMMAND_SESSION_OPEN };
    cmd.session_open =
        (struct command_session_open){ .node = node, .replaces = replaces, .new_process = new_process };
    memset(cmd.session_open.nonce, nonce, sizeof cmd.session_open.nonce);
    const struct machine_result *r = fix_apply(f, &cmd);
    assert_int_equal(r->err, 0);
    return r->id;
}

struct command_origin fix_origin(struct fix *f, uint64_t session)
{
    f->seq++;
    return (struct command_origin){ .session = session,
                                    .seq = f->seq,
                                    .lowest = f->seq > 100 ? f->seq - 100 : 1 };
}

const struct machine_result *fix_grant(struct fix *f, uint64_t session, const char *account,
                                       const char *tenant, uint32_t need, uint32_t want)
{
    struct command cmd = { .type = COMMAND_GRANT, .origin = fix_origin(f, session) };
    cmd.grant = (struct command_grant){
        .account = span_str(account), .tenant = span_str(tenant), .need = need, .want = want
    };
    return fix_apply(f, &cmd);
}

uint32_t fix_take(struct fix *f, uint64_t session, const char *account, uint32_t n)
{
    const struct machine_result *r = fix_grant(f, session, account, "", n, n);
    return r->err == 0 ? r->count : 0;
}

const struct machine_result *fix_return(struct fix *f, uint64_t session, uint64_t grant, uint32_t unspent,
                                        bool last)
{
    struct command cmd = { .type = COMMAND_RETURN, .origin = fix_origin(f, session) };
    cmd.ret.n = 1;
    cmd.ret.item[0] = (struct command_return_item){ .grant = grant, .unspent = unspent, .last = last };
    return fix_apply(f, &cmd);
}

const struct machine_result *fix_freeze(struct fix *f, uint8_t scope, const char *name, uint8_t mode,
                                        uint64_t for_ms)
{
    struct command cmd = { .type = COMMAND_FREEZE };
    cmd.freeze = (struct command_freeze){
        .by.who = SPAN_LIT("test"),
        .scope = scope,
        .name = span_str(name),
        .mode = mode,
        .for_ms = for_ms,
        .reason = SPAN_LIT("because"),
    };
    return fix_apply(f, &cmd);
}

struct wanted {
    const char *limit;
    struct machine_usage usage;
    bool found;
};

static int usage_cb(void *arg, const struct machine_usage *u)
{
    struct wanted *w = arg;
    if (strcmp(u->limit, w->limit) != 0)
        return 0;
    w->usage = *u;
    w->found = true;
    return 1;
}

struct machine_usage fix_usage(struct fix *f, const char *account, const char *tenant, const char *limit)
{
    struct wanted w = { .limit = limit };
    machine_usage_each(f->m, span_str(account), span_str(tenant), 0, usage_cb, &w);
    assert_true(w.found);
    return w.usage;
}

void fix_snapshot(struct machine *m, struct buf *out)
{
    assert_int_equal(machine_snapshot_begin(m), 0);
    int more;
    while ((more = machine_snapshot_step(m, out)) == 1)
        ;
    assert_int_equal(more, 0);
    machine_snapshot_end(m);
}

struct machine *fix_replay(const struct fix *f)
{
    struct machine *m = machine_new(&(struct machine_config){ 0 });
    struct machine_effects fx;
    machine_effects_init(&fx);
    struct cursor c;
    cursor_init(&c, f->log.data, f->log.len);
    while (cursor_left(&c) != 0) {
        uint64_t index = cursor_u64(&c);
        struct span entry = cursor_counted(&c);
        assert_int_equal(cursor_err(&c), 0);
        assert_int_equal(machine_apply(m, index, entry.p, entry.n, &fx), 0);
    }
    machine_effects_fini(&fx);
    return m;
}
