/* A walk at random over sessions, moves, pools that begin and cease to float, and nodes that lag behind: no
 * address is ever usable on two nodes. Each node is modelled as what it last saw of the state; it sends as
 * that says, and stops by its session only where it knows that the address floats.
 */
#include "world.h"

#include <stdio.h>

#define NODES 3
#define ADDRESSES 3
#define STEPS 400
#define SEEDS 25

struct seen {
    uint64_t node, next, move;
    bool floats;
    bool released; /* for that move */
};

struct node {
    bool running;
    bool known;       /* this process has had a usable session */
    bool usable;      /* the state that it acts upon is as new as its session */
    uint64_t session; /* of this process; 0: none */
    uint64_t index;   /* of the state that it acts upon */
    struct seen seen[ADDRESSES];
};

struct walk {
    struct world *w;
    struct node nodes[NODES + 1];
    uint64_t random, renewal;
    unsigned moved, floated, held_back;
};

static uint64_t roll(struct walk *k, uint64_t n)
{
    k->random ^= k->random << 13;
    k->random ^= k->random >> 7;
    k->random ^= k->random << 17;
    return k->random % n;
}

static const char *address_text(unsigned i)
{
    static const char *const texts[ADDRESSES] = { "192.0.2.1", "192.0.2.2", "192.0.2.3" };
    return texts[i];
}

struct rows {
    struct directory_ip ip[ADDRESSES];
    unsigned n;
};

static int row(void *arg, const struct directory_ip *ip)
{
    struct rows *r = arg;
    r->ip[r->n++] = *ip;
    return 0;
}

static struct rows rows_of(const struct world *w)
{
    struct rows r = { .n = 0 };
    assert_int_equal(directory_ip_each(w->m, row, &r), 0);
    assert_int_equal(r.n, ADDRESSES);
    return r;
}

static bool lives(const struct walk *k, uint64_t session)
{
    struct machine_session s;
    return session != 0 && machine_session_find(k->w->m, session, &s);
}

/* (!) One that was asked for the address and has not released it may still finish a message. */
static bool may_send(const struct walk *k, unsigned node, unsigned address)
{
    const struct node *n = &k->nodes[node];
    const struct seen *s = &n->seen[address];
    return n->running && n->known && s->node == node && !(s->next != 0 && s->released) &&
           (!s->floats || (n->usable && lives(k, n->session)));
}

static void check(const struct walk *k)
{
    for (unsigned a = 0; a < ADDRESSES; a++) {
        unsigned who = 0;
        for (unsigned node = 1; node <= NODES; node++) {
            if (!may_send(k, node, a))
                continue;
            if (who != 0)
                fail_msg("%s is used by nodes %u and %u at index %llu", address_text(a), who, node,
                         (unsigned long long)k->w->index);
            who = node;
        }
    }
}

/* The node acts upon the state as it is now. */
static void catch_up(struct walk *k, unsigned node)
{
    struct node *n = &k->nodes[node];
    struct rows r = rows_of(k->w);
    if (!n->running)
        return;
    for (unsigned a = 0; a < ADDRESSES; a++) {
        bool same = n->seen[a].move == r.ip[a].move;
        n->seen[a] = (struct seen){ r.ip[a].node, r.ip[a].next, r.ip[a].move, r.ip[a].floats,
                                    same && n->seen[a].released };
    }
    n->index = k->w->index;
    n->usable = n->session != 0;
    n->known = n->known || n->usable;
}

static void open_one(struct walk *k, unsigned node)
{
    struct node *n = &k->nodes[node];
    struct world *w = k->w;
    if (n->running && lives(k, n->session))
        return;
    struct command c = { .type = COMMAND_SESSION_OPEN,
                         .session_open = {
                             .node = node, .replaces = w->session[node], .new_process = !n->running } };
    memcpy(c.session_open.nonce, &w->index, sizeof w->index);
    if (tell(w, c) != 0)
        return; /* too many are waited for */
    w->session[node] = n->session = w->r.id;
    n->running = true;
    n->usable = false; /* and nothing of the session before is sent any more */
}

static void kill_one(struct walk *k, unsigned node)
{
    k->nodes[node] = (struct node){ .running = false };
}

static void expire_one(struct walk *k, unsigned node)
{
    struct machine_session s;
    if (machine_session_find(k->w->m, k->w->session[node], &s))
        assert_int_equal(expire(k->w, s.id), 0);
}

static void renew_one(struct walk *k, unsigned node)
{
    struct node *n = &k->nodes[node];
    struct command c = { .type = COMMAND_SESSION_RENEW,
                         .session_renew = { .number = ++k->renewal, .published = n->index } };
    if (n->running && lives(k, n->session) && n->session == k->w->session[node])
        (void)tell_as(k->w, node, c);
}

static void release_some(struct walk *k, unsigned node)
{
    struct node *n = &k->nodes[node];
    for (unsigned a = 0; a < ADDRESSES; a++) {
        struct seen *s = &n->seen[a];
        if (!n->running || s->node != node || s->next == 0 || !lives(k, n->session) || !n->known ||
            n->session != k->w->session[node])
            continue;
        s->released = true;
        (void)tell_as(
            k->w, node,
            (struct command){ .type = COMMAND_IP_RELEASED,
                              .ip_released = { .address = str(address_text(a)), .moved = s->move } });
    }
}

/* An operator: moves what floats only, and says "dead" of nothing that runs. */
static void operate(struct walk *k)
{
    struct rows r = rows_of(k->w);
    unsigned a = (unsigned)roll(k, ADDRESSES), to = 1 + (unsigned)roll(k, NODES);
    const struct directory_ip *ip = &r.ip[a];
    struct command c = { .type = COMMAND_IP_MOVE,
                         .ip_move = { .address = str(address_text(a)), .node = to } };
    if (!ip->floats)
        return;
    if (roll(k, 4) == 0 && ip->unsure != 0 && !k->nodes[ip->unsure].running)
        c.type = COMMAND_IP_MOVE_DEAD;
    int err = tell(k->w, c);
    k->moved += err == 0;
    k->held_back += err == ERR_DENIED;
}

static void float_or_bind(struct walk *k)
{
    struct rows r = rows_of(k->w);
    struct command c = { .type = COMMAND_POOL_FLOATING,
                         .pool_floating = { .name = str("a"),
                                            .mode = (uint8_t)(1 + roll(k, 3)),
                                            .after_ms = 1000,
                                            .nodes = str("") } };
    /* Bound addresses that are on their way from a lost node are beyond what is promised. */
    for (unsigned a = 0; c.pool_floating.mode == COMMAND_FLOATING_NEVER && a < ADDRESSES; a++)
        if (r.ip[a].next != 0 || r.ip[a].unsure != 0)
            return;
    assert_int_equal(tell(k->w, c), 0);
}

static void lead(struct walk *k)
{
    struct buf out;
    struct cursor c;
    uint32_t n = 0;
    buf_init(&out, 1 << 16);
    k->w->now_ms += 200 + roll(k, 1500);
    assert_int_equal(machine_due(k->w->m, k->w->now_ms, &out, &n), 0);
    cursor_init(&c, out.data, out.len);
    for (uint32_t i = 0; i < n; i++) {
        struct command cmd;
        assert_int_equal(command_decode(&c, &cmd), 0);
        k->floated += tell(k->w, cmd) == 0;
        check(k);
    }
    buf_fini(&out);
}

static void step(struct walk *k)
{
    unsigned node = 1 + (unsigned)roll(k, NODES);
    switch (roll(k, 10)) {
    case 0:
        expire_one(k, node);
        break;
    case 1:
        if (roll(k, 3) == 0)
            kill_one(k, node);
        break;
    case 2:
        open_one(k, node);
        break;
    case 3:
        renew_one(k, node);
        break;
    case 4:
        release_some(k, node);
        break;
    case 5:
        operate(k);
        break;
    case 6:
        if (roll(k, 3) == 0)
            float_or_bind(k);
        break;
    case 7:
        lead(k);
        break;
    default:
        /* Who is cut off does not hear of anything. */
        if (lives(k, k->nodes[node].session))
            catch_up(k, node);
    }
    check(k);
}

static void begin(struct walk *k, uint64_t seed)
{
    *k = (struct walk){ .w = world_founded(), .random = seed * 0x9e3779b97f4a7c15u + 1 };
    struct world *w = k->w;
    for (uint64_t node = 2; node <= NODES; node++) {
        char name[16];
        snprintf(name, sizeof name, "node-%c", (int)('a' + node - 1));
        assert_int_equal(join(w, name), node);
        open_session(w, node);
    }
    for (uint64_t node = 1; node <= NODES; node++) {
        struct command c = { .type = COMMAND_MEMBER_REPORT,
                             .member_report = { .node = node, .version = str("1"), .features = 4 } };
        assert_int_equal(tell_as(w, node, c), 0);
        k->nodes[node] = (struct node){ .running = true, .session = w->session[node] };
    }
    struct command c = { .type = COMMAND_FEATURE_RAISE, .feature_raise = { .level = 4 } };
    assert_int_equal(tell(w, c), 0);
    c = (struct command){ .type = COMMAND_POOL_SET, .pool_set = { .name = str("a"), .note = str("") } };
    assert_int_equal(tell(w, c), 0);
    for (unsigned a = 0; a < ADDRESSES; a++) {
        c = (struct command){ .type = COMMAND_IP_SET,
                              .ip_set = { .address = str(address_text(a)),
                                          .pool = str("a"),
                                          .ehlo = str(""),
                                          .node = 1 + a % NODES,
                                          .create = true } };
        assert_int_equal(tell(w, c), 0);
    }
}

static void test_one_node_at_a_time(void **state)
{
    (void)state;
    unsigned moved = 0, floated = 0, held_back = 0;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct walk k;
        begin(&k, seed);
        for (int i = 0; i < STEPS; i++)
            step(&k);
        moved += k.moved;
        floated += k.floated;
        held_back += k.held_back;
        world_free(k.w);
    }
    /* Or it would have shown nothing. */
    assert_true(moved > 100);
    assert_true(floated > 20);
    assert_true(held_back > 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_one_node_at_a_time) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
