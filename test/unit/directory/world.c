/* A machine for tests: see world.h. */
#include "world.h"

#include <stdio.h>

#define SNAPSHOTS 80 /* commands of a world that are tried with one */

struct world *world_new(const struct machine_config *config)
{
    struct world *w = calloc(1, sizeof *w);
    assert_non_null(w);
    w->config = *config;
    w->m = machine_new(config);
    w->other = machine_new(config);
    assert_non_null(w->m);
    assert_non_null(w->other);
    machine_effects_init(&w->fx);
    w->now_ms = 1000;
    buf_init(&w->log, SIZE_MAX);
    return w;
}

/* Also with a snapshot out that has not come far: it must be of the state before, so that whatever is changed
 * was touched before it was changed. */
static void apply(struct world *w, struct span entry)
{
    uint64_t before = machine_digest(w->m);
    bool snapshot = w->index < SNAPSHOTS;
    struct buf snap;
    buf_init(&snap, SIZE_MAX);
    if (snapshot)
        assert_int_equal(machine_snapshot_begin(w->m), 0);
    assert_int_equal(machine_apply(w->m, ++w->index, entry.p, entry.n, &w->fx), 0);
    if (snapshot) {
        while (machine_snapshot_step(w->m, &snap) == 1)
            ;
        machine_snapshot_end(w->m);
        assert_int_equal(machine_restore(w->other, snap.data, snap.len), 0);
        assert_true(machine_digest(w->other) == before);
    }
    buf_fini(&snap);
}

int tell(struct world *w, struct command cmd)
{
    struct buf b;
    buf_init(&b, COMMAND_ENTRY_BYTES_MAX);
    if (cmd.origin.session != 0)
        cmd.origin.seq = cmd.origin.lowest = ++w->seq;
    assert_int_equal(command_entry_begin(&b, w->now_ms), 0);
    assert_int_equal(command_encode(&cmd, &b), 0);
    assert_int_equal(command_entry_end(&b, 1), 0);
    assert_int_equal(buf_put_counted(&w->log, buf_span(&b)), 0);
    apply(w, buf_span(&b));
    buf_fini(&b);
    bool any = false;
    for (uint32_t i = 0; i < w->fx.n; i++)
        if (w->fx.items[i].is_result) {
            w->r = w->fx.items[i].result;
            any = true;
        }
    assert_true(any);
    if (w->r.err != 0 && w->r.limit[0] == '\0')
        assert_true(w->r.words[0] != 0);
    return w->r.err;
}

int tell_as(struct world *w, uint64_t node, struct command cmd)
{
    assert_true(node < 64 && w->session[node] != 0);
    cmd.origin.session = w->session[node];
    return tell(w, cmd);
}

void assert_words(const struct world *w, const char *part)
{
    if (strstr(w->r.words, part) == NULL)
        fail_msg("\"%s\" is not in \"%s\"", part, w->r.words);
}

bool changed(const struct world *w, enum machine_change change, const char *key)
{
    for (uint32_t i = 0; i < w->fx.n; i++) {
        const struct machine_effect *e = &w->fx.items[i];
        if (!e->is_result && e->change == change && (key == NULL || span_eq(e->key, str(key))))
            return true;
    }
    return false;
}

int found(struct world *w, const char *name, uint32_t epoch)
{
    struct command c = { .type = COMMAND_CLUSTER_INIT,
                         .cluster_init = { .cluster = "the cluster's i",
                                           .epoch = epoch,
                                           .ca_certificate = str("certificate"),
                                           .ca_key = str("key"),
                                           .name = str(name),
                                           .raft_address = str("192.0.2.1:7301"),
                                           .gossip_address = str("192.0.2.1:7302"),
                                           .certificate_sha256 = str("0123456789abcdef0123456789abcdef"),
                                           .version = str("0.3.0"),
                                           .features = 1 } };
    return tell(w, c);
}

struct world *world_founded(void)
{
    struct world *w = world_new(&(struct machine_config){ 0 });
    assert_int_equal(found(w, "node-a", 1), 0);
    assert_int_equal(w->r.id, 1);
    open_session(w, 1);
    return w;
}

int token(struct world *w, const char *id, uint64_t for_ms, const char *node_name)
{
    return tell(w, (struct command){ .type = COMMAND_TOKEN_ADD,
                                     .token_add = { .by = { .who = str("root@node-a") },
                                                    .id = str(id),
                                                    .secret_sha256 = { 7 },
                                                    .for_ms = for_ms,
                                                    .node_name = str(node_name) } });
}

int join_with(struct world *w, const char *id, uint8_t request, const char *name, const char *address,
              uint32_t features)
{
    char raft[64], gossip[64];
    snprintf(raft, sizeof raft, "%s:7301", address);
    snprintf(gossip, sizeof gossip, "%s:7302", address);
    return tell(w, (struct command){ .type = COMMAND_MEMBER_JOIN,
                                     .member_join = { .token = str(id),
                                                      .request_sha256 = { request },
                                                      .name = str(name),
                                                      .raft_address = str(raft),
                                                      .gossip_address = str(gossip),
                                                      .version = str("0.3.0"),
                                                      .features = features } });
}

int member_state(struct world *w, uint64_t node, uint8_t state)
{
    return tell(
        w, (struct command){ .type = COMMAND_MEMBER_SET, .member_set = { .node = node, .state = state } });
}

uint64_t join(struct world *w, const char *name)
{
    char id[32];
    snprintf(id, sizeof id, "token-%llu", (unsigned long long)w->index);
    assert_int_equal(token(w, id, 3600000, ""), 0);
    assert_int_equal(join_with(w, id, 1, name, name, machine_features(w->m)), 0);
    uint64_t node = w->r.id;
    assert_int_equal(member_state(w, node, COMMAND_MEMBER_ACTIVE), 0);
    return node;
}

uint64_t open_session(struct world *w, uint64_t node)
{
    assert_true(node < 64);
    struct command c = { .type = COMMAND_SESSION_OPEN,
                         .session_open = {
                             .node = node, .replaces = w->session[node], .new_process = true } };
    memcpy(c.session_open.nonce, &w->index, sizeof w->index);
    assert_int_equal(tell(w, c), 0);
    return w->session[node] = w->r.id;
}

int expire(struct world *w, uint64_t session)
{
    struct machine_session s;
    assert_true(machine_session_find(w->m, session, &s));
    return tell(w, (struct command){ .type = COMMAND_SESSION_EXPIRE,
                                     .session_expire = { .session = session, .number = s.number } });
}

/* ---- readers ------------------------------------------------------------------------------------------- */

#define S(span) (int)(span).n, (span).p
#define U(v) ((unsigned long long)(v))

static int on_account(void *arg, const struct directory_account *a)
{
    return buf_printf(arg, "account %.*s|%.*s|%.*s|%.*s|%u|%d|%llu\n", S(a->name), S(a->hash), S(a->tenant),
                      S(a->senders), a->class, a->disabled, U(a->version));
}

static int on_tenant(void *arg, const struct directory_tenant *t)
{
    return buf_printf(arg, "tenant %.*s|%.*s|%llu\n", S(t->name), S(t->note), U(t->version));
}

static int on_erasure(void *arg, const struct directory_erasure *e)
{
    (void)buf_printf(arg, "erasure %.*s|%.*s|%llu|%llu|", S(e->address), S(e->who), U(e->id), U(e->wall_ms));
    for (uint32_t i = 0; i < e->ndone; i++)
        (void)buf_printf(arg, "%llu ", U(e->done[i]));
    return buf_put_str(arg, "\n");
}

static int on_access(void *arg, const struct directory_access *a)
{
    return buf_printf(arg, "access %.*s|%.*s|%.*s|%.*s|%02x|%llu|%llu\n", S(a->id), S(a->tenant), S(a->who),
                      S(a->note), a->secret_sha256[31], U(a->wall_ms), U(a->version));
}

static int on_override(void *arg, const struct directory_override *o)
{
    return buf_printf(arg, "override %u|%.*s|%.*s|%llu|%llu\n", o->scope, S(o->name), S(o->limit),
                      U(o->count), U(o->version));
}

static int on_pool(void *arg, const struct directory_pool *p)
{
    const struct directory_floating *f = &p->floating;
    return buf_printf(arg, "pool %.*s|%.*s|%llu|%u|%d|%u|%llu|%.*s\n", S(p->name), S(p->note), U(p->version),
                      f->mode, f->back, f->per_node, U(f->after_ms), S(f->nodes));
}

static int on_assignment(void *arg, const struct directory_assignment *a)
{
    return buf_printf(arg, "assign %u|%.*s|%.*s|%llu\n", a->to, S(a->name), S(a->pool), U(a->version));
}

static int on_ip(void *arg, const struct directory_ip *ip)
{
    (void)buf_printf(arg, "floats %d|%llu|%llu|%llu|%llu|%u|%.*s\n", ip->floats, U(ip->unsure), U(ip->home),
                     U(ip->lost_ms), U(ip->claim), ip->hook, S(ip->hook_words));
    return buf_printf(arg, "ip %.*s|%.*s|%.*s|%llu|%llu|%llu|%u|%u|%llu\n", S(ip->address), S(ip->pool),
                      S(ip->ehlo), U(ip->node), U(ip->next), U(ip->move), ip->weight, ip->use,
                      U(ip->version));
}

static int on_member(void *arg, const struct directory_member *mb)
{
    (void)buf_printf(arg, "member %llu|%u|%.*s|%.*s|%.*s|%.*s|%u|%u|%u|%llu|%llu|", U(mb->id), mb->slot,
                     S(mb->name), S(mb->raft_address), S(mb->gossip_address), S(mb->version), mb->state,
                     mb->role, mb->features, U(mb->session), U(mb->changed));
    for (int i = 0; i < 2; i++)
        (void)buf_printf(arg, "%02x%02x %lld|", mb->certificates[i][0], mb->certificates[i][31],
                         (long long)mb->not_after_ms[i]);
    return buf_printf(arg, "\n");
}

static int on_token(void *arg, const struct directory_token *t)
{
    return buf_printf(arg, "token %.*s|%.*s|%.*s|%02x|%llu|%d|%llu|%02x\n", S(t->id), S(t->node_name),
                      S(t->who), t->secret_sha256[0], U(t->until_ms), t->used, U(t->node),
                      t->request_sha256[0]);
}

static int on_transfer(void *arg, const struct directory_transfer *t)
{
    return buf_printf(arg, "transfer %02x|%llu|%llu|%u|%02x|%d|%d\n", t->id[0], U(t->giver), U(t->taker),
                      t->messages, t->sha256[0], t->owned, t->cancelled);
}

static int on_alert(void *arg, const struct directory_alert *a)
{
    return buf_printf(arg, "alert %llu|%llu|%lld|%u|%.*s|%.*s|%.*s|%.*s|%.*s\n", U(a->seq), U(a->at),
                      (long long)a->wall_ms, a->severity, S(a->event), S(a->account), S(a->tenant), S(a->rule),
                      S(a->text));
}

static int on_sealed(void *arg, const struct directory_sealed *s)
{
    return buf_printf(arg, "sealed %u|%.*s|%.*s|%llu|%.*s|%.*s|%llu|%llu|%d|%.*s|%.*s|%lld|%llu\n", s->kind,
                      S(s->name), S(s->selector), U(s->number), S(s->sealed), S(s->public), U(s->not_before_ms),
                      U(s->not_after_ms), s->subdomains, S(s->tenants), S(s->who), (long long)s->wall_ms,
                      U(s->version));
}

static int on_proof(void *arg, const struct directory_proof *p)
{
    return buf_printf(arg, "proof %.*s|%.*s|%.*s|%.*s|%u|%u|%lld|%lld|%lld|%lld|%lld|%llu\n", S(p->tenant),
                      S(p->domain), S(p->who), S(p->words), p->state, p->fails, (long long)p->asked_ms,
                      (long long)p->proven_ms, (long long)p->checked_ms, (long long)p->until_ms,
                      (long long)p->failing_ms, U(p->version));
}

static int on_suppressed(void *arg, const struct directory_suppressed *s)
{
    return buf_printf(arg, "suppressed %.*s|%.*s|%.*s|%.*s|%u|%lld|%llu|%llu\n", S(s->tenant), S(s->address),
                      S(s->reason), S(s->who), s->class, (long long)s->wall_ms, U(s->until_ms), U(s->version));
}

static int on_web(void *arg, const struct directory_web *w)
{
    return buf_printf(arg, "web %.*s|%llu|%llu|%llu\n", S(w->name), U(w->since_ms), U(w->seen_ms), U(w->until_ms));
}

static int on_warming_site(void *arg, const struct directory_warming_site *s)
{
    return buf_printf(arg, "warming %.*s|%.*s|%u|%d|%u|%u|%u|%llu|%u|%u|%u|%u|%u|%u|%u|%u|%u\n", S(s->address),
                      S(s->site), s->step, s->warm, s->volume, s->reserved, s->held, U(s->until_ms),
                      s->today.delivered, s->today.deferred, s->today.refused, s->today.complaints,
                      s->before.delivered, s->before.deferred, s->before.refused, s->before.complaints,
                      s->verdict);
}

struct on_warming {
    const struct machine *m;
    struct buf *out;
};

static int on_warming(void *arg, const struct directory_warming *v)
{
    struct on_warming *o = arg;
    (void)buf_printf(o->out, "warming %.*s|%.*s|%lld|%llu|%llu|%llu|%u|%u|%u|%u|%u|%u|%u|%u|%d\n", S(v->address),
                     S(v->who), (long long)v->wall_ms, U(v->begun_ms), U(v->plan), U(v->version), v->sites,
                     v->set.first, v->set.growth_pct, v->set.days, v->set.fill_pct, v->set.deferral_permille,
                     v->set.complaint_permille, v->set.sites, v->set.step_back);
    return directory_warming_site_each(o->m, v->address, on_warming_site, o->out);
}

static int on_record(void *arg, const struct directory_record *r)
{
    (void)buf_printf(arg, "record %.*s|%llu", S(r->account), U(r->version));
    for (int w = 0; w < DIRECTORY_RECORD_WINDOWS; w++)
        for (int kind = 0; kind < RECORD_KINDS; kind++)
            if (r->counts[w][kind] != 0)
                (void)buf_printf(arg, "|%d %d %llu", w, kind, U(r->counts[w][kind]));
    return buf_put_char(arg, '\n');
}

struct on_sender {
    const struct machine *m;
    struct buf *out;
};

static int on_sender(void *arg, const struct directory_record *r)
{
    const struct on_sender *o = arg;
    struct directory_sender s;
    if (!directory_sender_find(o->m, r->account, &s))
        return 0;
    (void)buf_printf(o->out, "sender %.*s|%u|%u", S(r->account), s.class, s.blocks);
    for (int f = 0; f < SENDER_FACTS; f++)
        for (int w = 0; w < SENDER_WINDOWS; w++)
            if (s.values.now[f][w] != 0 || s.values.base[f][w] != 0)
                (void)buf_printf(o->out, "|%d %d %u %u", f, w, s.values.now[f][w], s.values.base[f][w]);
    return buf_put_char(o->out, '\n');
}

static int on_measure(void *arg, const struct directory_measure *v)
{
    return buf_printf(arg, "measure %.*s|%.*s|%.*s|%.*s|%u %d %u|%llu %llu %lld %llu\n", S(v->account), S(v->rule),
                      S(v->pool), S(v->evidence), v->action, v->in_force, v->times, U(v->since_ms),
                      U(v->until_ms), (long long)v->wall_ms, U(v->id));
}

static int on_standing(void *arg, const struct directory_standing *s)
{
    return buf_printf(arg, "standing %.*s|%u|%d|%llu|%lld|%llu\n", S(s->account), s->tier, s->pinned,
                      U(s->since_ms), (long long)s->wall_ms, U(s->version));
}

static int on_operator(void *arg, const struct directory_operator *o)
{
    return buf_printf(arg, "operator %.*s|%.*s|%u|%lld|%llu\n", S(o->name), S(o->hash), o->role,
                      (long long)o->wall_ms, U(o->version));
}

static int on_login(void *arg, const struct directory_login *l)
{
    return buf_printf(arg, "login %02x%02x|%.*s|%.*s|%lld|%lld|%lld\n", l->id[0], l->id[31], S(l->name),
                      S(l->who), (long long)l->wall_ms, (long long)l->until_ms, (long long)l->ends_ms);
}

static int on_audit(void *arg, const struct directory_audit *a)
{
    return buf_printf(arg, "audit %llu|%lld|%.*s|%.*s\n", U(a->id), (long long)a->wall_ms, S(a->who),
                      S(a->what));
}

void dump(const struct machine *m, struct buf *out)
{
    struct directory_cluster cluster;
    struct directory_policy p;
    struct machine_totals t;
    (void)directory_account_each(m, str(""), on_account, out);
    (void)directory_tenant_each(m, str(""), on_tenant, out);
    (void)directory_access_each(m, str(""), on_access, out);
    (void)directory_erasure_each(m, str(""), on_erasure, out);
    (void)directory_override_each(m, 0, str(""), on_override, out);
    for (uint32_t i = 0; directory_policy(m, i, &p); i++)
        (void)buf_printf(out, "policy %llu|%.*s|%.*s|%zu|%lld|%u\n", U(p.version), S(p.who), S(p.note),
                         p.text.n, (long long)p.wall_ms, p.compiled->nlimits);
    (void)directory_pool_each(m, on_pool, out);
    (void)directory_assignment_each(m, on_assignment, out);
    (void)directory_ip_each(m, on_ip, out);
    (void)directory_member_each(m, on_member, out);
    if (directory_cluster(m, &cluster))
        (void)buf_printf(out, "cluster %u|%.*s|%.*s|%u\n", cluster.epoch, S(cluster.ca_certificate),
                         S(cluster.ca_key), machine_features(m));
    (void)directory_token_each(m, on_token, out);
    (void)directory_transfer_each(m, on_transfer, out);
    (void)directory_alerts_each(m, 0, on_alert, out);
    (void)directory_sealed_each(m, str(""), on_sealed, out);
    struct directory_sealing sealing;
    if (directory_sealing(m, &sealing))
        (void)buf_printf(out, "sealing %llu|%02x|%llu|%02x|%llu\n", U(sealing.number), sealing.id[0],
                         U(sealing.old_number), sealing.old_id[0], U(sealing.version));
    (void)directory_proof_each(m, str(""), on_proof, out);
    (void)directory_suppressed_each(m, str(""), on_suppressed, out);
    (void)directory_warming_each(m, on_warming, &(struct on_warming){ m, out });
    (void)directory_record_each(m, str(""), on_record, out);
    (void)directory_record_each(m, str(""), on_sender, &(struct on_sender){ m, out });
    (void)directory_standing_each(m, str(""), on_standing, out);
    (void)directory_operator_each(m, str(""), on_operator, out);
    (void)directory_login_each(m, on_login, out);
    (void)directory_measure_each(m, str(""), on_measure, out);
    (void)directory_web_each(m, str(""), on_web, out);
    (void)buf_printf(out, "webs %llu\n", U(directory_web_count(m)));
    (void)directory_audit_each(m, 0, on_audit, out);
    machine_totals(m, &t);
    (void)buf_printf(out, "totals %llu %llu %llu %llu %llu %llu %llu\n", U(t.accounts), U(t.tenants),
                     U(t.members), U(t.pools), U(t.addresses), U(t.transfers), U(t.audit));
    assert_int_equal(buf_err(out), 0);
}

/* ---- the end ------------------------------------------------------------------------------------------- */

static void assert_same(const struct world *w, struct machine *other)
{
    struct buf a, b;
    buf_init(&a, SIZE_MAX);
    buf_init(&b, SIZE_MAX);
    dump(w->m, &a);
    dump(other, &b);
    buf_put_char(&a, 0);
    buf_put_char(&b, 0);
    assert_string_equal(a.data, b.data);
    assert_true(machine_digest(w->m) == machine_digest(other));
    buf_fini(&a);
    buf_fini(&b);
}

static void check_snapshot(const struct world *w)
{
    struct buf snap;
    buf_init(&snap, SIZE_MAX);
    assert_int_equal(machine_snapshot_begin(w->m), 0);
    int more;
    while ((more = machine_snapshot_step(w->m, &snap)) == 1)
        ;
    assert_int_equal(more, 0);
    machine_snapshot_end(w->m);
    struct machine *other = machine_new(&w->config);
    assert_non_null(other);
    assert_int_equal(machine_restore(other, snap.data, snap.len), 0);
    assert_same(w, other);
    /* Over a state that it already has, too. */
    assert_int_equal(machine_restore(other, snap.data, snap.len), 0);
    assert_same(w, other);
    machine_free(other);
    buf_fini(&snap);
}

static void check_replay(const struct world *w)
{
    struct machine *other = machine_new(&w->config);
    assert_non_null(other);
    struct machine_effects fx;
    machine_effects_init(&fx);
    struct cursor c;
    cursor_init(&c, w->log.data, w->log.len);
    for (uint64_t index = 1; cursor_left(&c) != 0; index++) {
        struct span entry = cursor_counted(&c);
        assert_int_equal(machine_apply(other, index, entry.p, entry.n, &fx), 0);
    }
    assert_same(w, other);
    machine_effects_fini(&fx);
    machine_free(other);
}

int policy_is(struct world *w, const struct policy_compiled *p)
{
    struct buf b;
    buf_init(&b, 1 << 20);
    assert_int_equal(policy_encode(p, &b), 0);
    assert_int_equal(tell(w, (struct command){ .type = COMMAND_POLICY_CHUNK,
                                               .policy_chunk = { .upload = { 7 }, .bytes = buf_span(&b) } }),
                     0);
    int err = tell(w, (struct command){ .type = COMMAND_POLICY_COMMIT,
                                        .policy_commit = { .by = { .who = str("root@node-a") },
                                                           .upload = { 7 },
                                                           .chunks = 1,
                                                           .compiled_bytes = b.len } });
    buf_fini(&b);
    return err;
}

struct world *world_at_level(uint32_t level)
{
    struct world *w = world_founded();
    assert_int_equal(
        tell_as(w, 1,
                (struct command){ .type = COMMAND_MEMBER_REPORT,
                                  .member_report = { .node = 1, .version = str("1"), .features = level } }),
        0);
    assert_int_equal(
        tell(w, (struct command){ .type = COMMAND_FEATURE_RAISE, .feature_raise = { .level = level } }), 0);
    return w;
}

void world_free(struct world *w)
{
    check_snapshot(w);
    check_replay(w);
    machine_effects_fini(&w->fx);
    machine_free(w->m);
    machine_free(w->other);
    buf_fini(&w->log);
    free(w);
}
