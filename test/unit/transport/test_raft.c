/* libraft itself over the transport: three servers elect a leader and replicate, through cut connections, and
 * close. */
#include "fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SERVERS 3

struct server {
    struct node n;
    struct paper p;
    char dir[80];
    struct raft_io io;
    struct raft_fsm fsm;
    struct raft raft;
    uint64_t applied;
    bool closed;
};

struct group {
    struct net net;
    struct authority a;
    char base[64];
    struct server s[SERVERS];
    uint64_t want, done;
    struct raft_apply apply[64];
};

static int fsm_apply(struct raft_fsm *fsm, const struct raft_buffer *b, void **result)
{
    struct server *s = fsm->data;
    assert_int_equal(b->len, 8);
    s->applied++;
    *result = NULL;
    return 0;
}

static int fsm_snapshot(struct raft_fsm *fsm, struct raft_buffer *bufs[], unsigned *n)
{
    (void)fsm;
    *n = 1;
    *bufs = raft_malloc(sizeof **bufs);
    (*bufs)[0] = (struct raft_buffer){ .base = raft_calloc(1, 8), .len = 8 };
    return 0;
}

static int fsm_restore(struct raft_fsm *fsm, struct raft_buffer *b)
{
    (void)fsm;
    raft_free(b->base);
    return 0;
}

static void server_start(struct group *g, int i, const struct raft_configuration *c)
{
    struct server *s = &g->s[i];
    assert_int_equal(raft_uv_init(&s->io, &g->net.loop, s->dir, s->n.raft), 0);
    raft_uv_set_connect_retry_delay(&s->io, 50);
    s->fsm = (struct raft_fsm){
        .version = 1, .data = s, .apply = fsm_apply, .snapshot = fsm_snapshot, .restore = fsm_restore
    };
    assert_int_equal(raft_init(&s->raft, &s->io, &s->fsm, (raft_id)i + 1, s->n.address), 0);
    s->raft.data = s;
    raft_set_election_timeout(&s->raft, 1500);
    raft_set_heartbeat_timeout(&s->raft, 50);
    raft_set_pre_vote(&s->raft, true);
    assert_int_equal(raft_bootstrap(&s->raft, c), 0);
    assert_int_equal(raft_start(&s->raft), 0);
}

static void group_init(struct group *g)
{
    *g = (struct group){ 0 };
    net_init(&g->net);
    authority_init(&g->a, 7, 1);
    strcpy(g->base, "/tmp/transport-raft-XXXXXX");
    assert_non_null(mkdtemp(g->base));
    struct raft_configuration c;
    raft_configuration_init(&c);
    for (int i = 0; i < SERVERS; i++) {
        struct server *s = &g->s[i];
        paper_init(&s->p, &g->a, (uint64_t)i + 1);
        node_open(&s->n, &g->net, &g->a, &s->p, 5000);
        snprintf(s->dir, sizeof s->dir, "%s/%d", g->base, i);
        char command[128];
        snprintf(command, sizeof command, "mkdir %s", s->dir);
        assert_int_equal(system(command), 0);
        assert_int_equal(raft_configuration_add(&c, (raft_id)i + 1, s->n.address, RAFT_VOTER), 0);
    }
    for (int i = 0; i < SERVERS; i++)
        server_start(g, i, &c);
    raft_configuration_close(&c);
}

static struct server *leader(struct group *g)
{
    for (int i = 0; i < SERVERS; i++) {
        if (raft_state(&g->s[i].raft) == RAFT_LEADER)
            return &g->s[i];
    }
    return NULL;
}

static bool has_leader(void *arg)
{
    return leader(arg) != NULL;
}

static struct group *the_group;

static void on_applied(struct raft_apply *req, int status, void *result)
{
    (void)req, (void)result;
    assert_int_equal(status, 0);
    the_group->done++;
}

static bool all_applied(void *arg)
{
    struct group *g = arg;
    for (int i = 0; i < SERVERS; i++) {
        if (g->s[i].applied < g->want)
            return false;
    }
    return g->done == g->want;
}

/* 64 entries, applied everywhere. */
static void replicate(struct group *g)
{
    net_until(&g->net, has_leader, g);
    the_group = g;
    for (int i = 0; i < 64; i++) {
        struct raft_buffer b = { .base = raft_calloc(1, 8), .len = 8 };
        assert_int_equal(raft_apply(&leader(g)->raft, &g->apply[i], &b, 1, on_applied), 0);
    }
    g->want += 64;
    net_until(&g->net, all_applied, g);
}

static void on_raft_closed(struct raft *raft)
{
    ((struct server *)raft->data)->closed = true;
}

static bool server_closed(void *arg)
{
    return ((struct server *)arg)->closed;
}

static void three_servers(void **state)
{
    (void)state;
    struct group g;
    group_init(&g);
    net_until(&g.net, has_leader, &g);
    for (int i = 0; i < SERVERS; i++) /* from here on a machine that stands still elects nobody */
        raft_set_election_timeout(&g.s[i].raft, 30000);
    replicate(&g);
    /* the leader's connections are cut under it: libraft dials anew and goes on */
    struct server *l = leader(&g);
    raft_term term = l->raft.current_term;
    for (int round = 0; round < 3; round++) {
        for (uint64_t id = 1; id <= SERVERS; id++)
            transport_cut(l->n.t, id);
        replicate(&g);
    }
    assert_int_equal(leader(&g)->raft.current_term, term);
    /* a certificate is renewed while they run */
    struct paper fresh;
    paper_init(&fresh, &g.a, (uint64_t)(l - g.s) + 1);
    assert_int_equal(transport_set_certificate(l->n.t, buf_span(&fresh.certificate), buf_span(&fresh.key)),
                     0);
    replicate(&g);
    paper_fini(&fresh);
    for (int i = 0; i < SERVERS; i++) {
        struct transport_stats s = node_stats(&g.s[i].n);
        assert_int_equal(s.refused + s.handshake_failures, 0);
        raft_close(&g.s[i].raft, on_raft_closed); /* with the others still sending */
        net_until(&g.net, server_closed, &g.s[i]);
        raft_uv_close(&g.s[i].io);
    }
    for (int i = 0; i < SERVERS; i++) {
        g.s[i].n.raft_closed = 1;
        node_fini(&g.s[i].n);
        paper_fini(&g.s[i].p);
    }
    net_fini(&g.net);
    authority_fini(&g.a);
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", g.base);
    assert_int_equal(system(command), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(three_servers) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
