/* A process's source addresses. Real are the view of pools and its way to the workers, the release of what is
 * asked for, the gate of connections from floating addresses (node/core/cluster_pools.c, egress_pools.c,
 * pools.c), what a day's plan hands out (warmup.c, warmup_hand.c) and the counting of senders' mail
 * (tally.c). What is here is what they stand between: the loop's timers and inboxes, a stream's gate, and a
 * connection in a few lines, in the order of node/core/conn.c.
 */
#define SIM_STREAM SIM_STREAM_ADDRESS
#include "test/sim/address.h"

#include "node/core/dispatch.h"
#include "node/core/tally.h"
#include "node/policy/policy.h"

#include <stdlib.h>

#define TICK_NS (20 * SIM_MS)
#define SLOW_OF 5 /* ticks */
#define POST_MS 30
#define OPEN_OF 12 /* turns of a worker */

const char *const address_pools[ADDRESS_POOLS] = { "bound", "floating" };
const char *const address_names[ADDRESS_N] = { "192.0.2.1",    "192.0.2.2",    "198.51.100.1",
                                               "198.51.100.2", "198.51.100.3", "2001:db8::1" };
const char *const address_sites[ADDRESS_SITES] = { "one.example", "two.example" };

static struct config config;

static struct address *of_worker(const struct worker *w)
{
    return LIST_ITEM(w->node, struct address, node);
}

/* ---- what stands around the code under test ------------------------------------------------------------ */

struct config *node_config(struct node *n)
{
    (void)n;
    return &config;
}

void config_rele(struct config *c)
{
    (void)c;
}

struct policy *cluster_policy(struct cluster *c)
{
    (void)c;
    return NULL;
}

void policy_rele(struct policy *p)
{
    (void)p;
}

void cluster_give_up(struct cluster *c, int err, const char *words)
{
    (void)c;
    check_fault("a node gives up: %s (%d)", words, err);
}

/* No hook: each address is on all machines. */
void cluster_addresses_begin(struct cluster *c)
{
    (void)c;
}

bool cluster_addresses_see(struct cluster *c, const struct directory_ip *ip, const struct pool_address *a)
{
    (void)c;
    (void)ip;
    (void)a;
    return true;
}

void cluster_addresses_end(struct cluster *c)
{
    (void)c;
}

bool cluster_addresses_give_up(struct cluster *c, const struct ip_addr *addr)
{
    (void)c;
    (void)addr;
    return true;
}

int64_t egress_now_ms(const struct egress *e)
{
    return of_worker(e->w)->s->wall_ns / SIM_MS;
}

bool egress_hand(struct egress *e)
{
    (void)e;
    return false; /* there is no mail */
}

bool egress_shaping_rests(const struct egress *e, const struct queue_site *qs, const struct ip_addr *source)
{
    (void)e;
    (void)qs;
    (void)source;
    return false;
}

struct span dispatch_pool(const struct pool_view *v, const struct envelope *env, struct span reply)
{
    (void)reply;
    return pool_view_of(v, env->account, env->tenant, env->class);
}

bool egress_shaping_held(const struct egress *e, const struct queue_site *qs, const struct ip_addr *source)
{
    return egress_shaping_rests(e, qs, source);
}

bool conn_site_room(struct conn *c, const struct ip_addr *source)
{
    (void)c;
    (void)source;
    return true;
}

void reroute_pools(struct reroute *r)
{
    (void)r;
}

bool reroute_item(struct egress *e, struct queue_item *item, const struct spool_info *info)
{
    (void)e;
    (void)item;
    (void)info;
    ensure_failed("no mail is in hand", __FILE__, __LINE__);
}

void attempt_free(struct attempt *a)
{
    (void)a;
    ensure_failed("no mail is in hand", __FILE__, __LINE__);
}

struct span egress_sites_key(const struct egress_site *site)
{
    return queue_site_key(site->qs);
}

struct span egress_sites_shared(const struct egress_site *site)
{
    return route_key_site(egress_sites_key(site));
}

struct span route_key_pool(struct span key)
{
    const char *slash = memchr(key.p, '/', key.n);
    return span_of(key.p, slash == NULL ? 0 : (size_t)(slash - key.p));
}

struct span route_key_site(struct span key)
{
    size_t n = route_key_pool(key).n;
    return span_sub(key, n == 0 ? 0 : n + 1);
}

int route_site_key(const struct config *c, struct span address, struct route_key *out)
{
    (void)c;
    (void)address;
    (void)out;
    return ERR_BAD;
}

enum bounce_class attempt_meaning(const struct smtp_client_result *r, struct bounce_reply *reply)
{
    (void)r;
    (void)reply;
    return BOUNCE_OTHER;
}

const char *bounce_class_name(enum bounce_class c)
{
    (void)c;
    return "other";
}

/* ---- a worker's loop ----------------------------------------------------------------------------------- */

struct posted {
    struct list link;
    struct worker_msg *msg;
    int64_t due_ns;
};

void worker_post_always(struct worker *w, struct worker_msg *msg)
{
    struct posted *p = malloc(sizeof *p);
    *p = (struct posted){ .msg = msg, .due_ns = sim.now_ns + sim_ms(POST_MS) };
    list_push_back(&of_worker(w)->at[w->index].posted, &p->link);
}

static void take_posted(struct worker *w, int64_t until_ns)
{
    struct list *posted = &of_worker(w)->at[w->index].posted;
    for (struct list *link; (link = list_first(posted)) != NULL;) {
        struct posted *p = LIST_ITEM(link, struct posted, link);
        if (p->due_ns > until_ns)
            return;
        list_remove(link);
        p->msg->run(w, p->msg);
        free(p);
    }
}

int64_t timers_now_ms(const struct timers *ts)
{
    (void)ts;
    return server_here()->boot_ns / SIM_MS;
}

int timer_init(struct timer *t, struct timers *ts, timer_fn *fn)
{
    *t = (struct timer){ .timers = ts, .fn = fn, .due_ms = INT64_MAX };
    return 0;
}

void timer_fini(struct timer *t)
{
    t->due_ms = INT64_MAX;
}

void timer_set(struct timer *t, int64_t delay_ms)
{
    t->due_ms = timers_now_ms(t->timers) + (delay_ms < 0 ? 0 : delay_ms);
}

bool timer_is_set(const struct timer *t)
{
    return t->due_ms != INT64_MAX;
}

/* ---- connections ----------------------------------------------------------------------------------------
 */

int stream_set_gate(struct stream *s, stream_gate_fn *may_send, void *ctx, uint64_t mark)
{
    struct address_conn *x = (struct address_conn *)s;
    ensure(x->gate.may_send == NULL);
    x->gate.may_send = may_send;
    x->gate.ctx = ctx;
    x->gate.mark = mark;
    return 0;
}

static void over(struct address_conn *x)
{
    conn_pool_drop(&x->c);
    list_remove(&x->c.link);
    x->open = false;
}

/* The message in hand comes to nothing, and nobody has said why. */
static void cut(struct address_conn *x)
{
    if (x->c.state == CONN_BUSY) {
        x->result = (struct smtp_client_result){ .class = SMTP_CLIENT_TEMPORARY, .local = true };
        conn_warmup_settled(&x->c);
    }
    over(x);
}

void conn_quit(struct queue_conn *qc)
{
    over(LIST_ITEM(qc, struct address_conn, c.qc));
}

void conn_cancel(struct conn *c)
{
    over(LIST_ITEM(c, struct address_conn, c));
}

void conn_cut(struct conn *c, const char *why)
{
    (void)why;
    cut(LIST_ITEM(c, struct address_conn, c));
}

/* As node/net/stream.c does before bytes go to the kernel. */
static bool sends(struct address_conn *x, bool first)
{
    const struct sim_server *s = of_worker(x->c.e->w)->s;
    if (x->gate.may_send != NULL && !x->gate.may_send(x->gate.ctx, x->gate.mark)) {
        check_sums.gated++;
        cut(x);
        return false;
    }
    address_check_sends(s, &x->c, first);
    return true;
}

static void next_message(struct address_conn *x)
{
    struct conn *c = &x->c;
    c->state = CONN_GREETING;
    if (x->left == 0 || !conn_pool_stays(c) || !conn_warmup_take(c)) {
        over(x);
        return;
    }
    x->left--;
    if (sim_random(16) == 0) { /* there is none in the queue */
        conn_warmup_untake(c);
        c->state = CONN_IDLE;
        x->due_ns = sim.now_ns + sim_ms(500);
        return;
    }
    c->attempt = &x->attempt;
    c->state = CONN_BUSY;
    x->due_ns = sim.now_ns + sim_ms(sim_random(8) == 0 ? 4000 : 150);
    (void)sends(x, true);
}

static void settle(struct address_conn *x)
{
    struct address *a = of_worker(x->c.e->w);
    bool later = sim_random(8) == 0;
    uint8_t kind = later ? RECORD_DEFERRED : RECORD_DELIVERED;
    x->result = (struct smtp_client_result){ .class = later ? SMTP_CLIENT_TEMPORARY : SMTP_CLIENT_OK };
    conn_pool_settled(&x->c);
    conn_warmup_settled(&x->c);
    x->c.attempt = NULL;
    if (a->tallies)
        address_check_counted(a->process, kind);
    tally_add(&a->cluster, span_str(address_check_account(a->process)), kind);
}

static void step(struct address_conn *x)
{
    sim_step(SIM_STEP_MAIL, of_worker(x->c.e->w)->s->i, x->c.state);
    switch (x->c.state) {
    case CONN_CONNECTING:
        conn_pool_connected(&x->c);
        if (!sends(x, false))
            return;
        next_message(x);
        break;
    case CONN_BUSY:
        if (!sends(x, false))
            return;
        settle(x);
        next_message(x);
        break;
    default:
        next_message(x);
    }
}

static void open_one(struct address_worker *at, struct address_conn *x)
{
    char why[256];
    struct ip_addr source;
    uint32_t pool = (uint32_t)sim_random(ADDRESS_POOLS), site = (uint32_t)sim_random(ADDRESS_SITES);
    struct egress *e = &at->egress;
    if (!egress_pools_ready(&at->sites[pool][site], why, sizeof why))
        return;
    memset(x, 0, sizeof *x);
    struct conn *c = &x->c;
    c->e = e;
    c->site = &at->sites[pool][site];
    c->state = CONN_CONNECTING;
    c->stream = (struct stream *)x;
    x->left = 1 + (uint32_t)sim_random(12);
    x->due_ns = sim.now_ns + sim_ms(100);
    x->attempt = (struct attempt){ .e = e, .nrcpts = 1, .results = &x->result };
    if (!conn_pool_source(c, span_str(address_pools[pool]), sim_random(4) == 0 ? 6 : 4, &source))
        return;
    x->open = true;
    list_push_back(&e->conns, &c->link);
    address_check_opened(of_worker(e->w)->s, c);
    if (c->floating)
        ensure(egress_pools_gate(e, c->stream, c->session) == 0);
}

static bool worker_turn(struct worker *w)
{
    struct address_worker *at = &of_worker(w)->at[w->index];
    bool any = false;
    take_posted(w, sim.now_ns);
    struct timer *t = &at->egress.pools.timer;
    if (t->due_ms <= timers_now_ms(t->timers)) {
        t->due_ms = INT64_MAX;
        t->fn(t);
        any = true;
    }
    for (int i = 0; i < ADDRESS_CONNS; i++) {
        struct address_conn *x = &at->conns[i];
        if (!x->open && (sim.quiet || sim_random(OPEN_OF) > 0))
            continue;
        if (!x->open)
            open_one(at, x);
        else if (x->due_ns > sim.now_ns)
            continue;
        else
            step(x);
        any = true;
    }
    return any;
}

/* ---- of a process ---------------------------------------------------------------------------------------
 */

/* A queue's site is there while it has an item: one that nobody takes. */
static void make_sites(struct address_worker *at)
{
    char key[64];
    uint32_t rcpt = 0;
    for (uint32_t p = 0; p < ADDRESS_POOLS; p++)
        for (uint32_t k = 0; k < ADDRESS_SITES; k++) {
            snprintf(key, sizeof key, "%s/%s", address_pools[p], address_sites[k]);
            struct queue_item_info info = { .id = 1 + p * ADDRESS_SITES + k,
                                            .site = span_str(key),
                                            .sender = SPAN_LIT("sender"),
                                            .nrcpts = 1,
                                            .rcpts = &rcpt,
                                            .size_kib = 1 };
            ensure(queue_add(at->egress.queue, &info, egress_now_ms(&at->egress)) != NULL);
            at->sites[p][k] = (struct egress_site){ .e = &at->egress,
                                                    .qs = queue_site_find(at->egress.queue, span_str(key)) };
            list_init(&at->sites[p][k].starved);
        }
}

static void worker_begin(struct address *a, uint32_t k)
{
    struct queue_config qc;
    struct address_worker *at = &a->at[k];
    struct worker *w = &a->workers[k];
    w->node = &a->node;
    w->index = k;
    w->egress = &at->egress;
    w->ledger = a->s->workers[k].w;
    list_init(&at->posted);
    list_init(&at->egress.conns);
    at->egress.w = w;
    queue_config_default(&qc);
    at->egress.queue = queue_new(&qc, egress_now_ms(&at->egress));
    ensure(egress_pools_init(&at->egress) == 0);
    make_sites(at);
}

void address_begin(struct sim_server *s)
{
    if (!sim.addresses)
        return;
    struct sim_server *was = memory_enter(s);
    struct address *a = s->address = calloc(1, sizeof *a);
    a->s = s;
    a->node.workers = a->workers;
    a->node.nworkers = SIM_WORKERS;
    struct cluster *c = a->node.cluster = &a->cluster;
    c->node = &a->node;
    c->agent = s->agent;
    c->m = s->m;
    c->id.self.node = server_id(s);
    c->pools_dirty = true;
    pthread_mutex_init(&c->lock, NULL);
    ensure((c->warmup = warmup_hand_new()) != NULL);
    ensure((c->tally = tally_new()) != NULL);
    for (uint32_t k = 0; k < SIM_WORKERS; k++)
        worker_begin(a, k);
    (void)memory_enter(was);
    a->process = address_check_process(s);
}

void address_effects(struct sim_server *s, const struct machine_effects *effects)
{
    if (s->address == NULL)
        return;
    struct sim_server *was = memory_enter(s);
    for (uint32_t i = 0; i < effects->n; i++) {
        const struct machine_effect *e = &effects->items[i];
        if (!e->is_result && (e->change == MACHINE_CHANGED_POOLS || e->change == MACHINE_CHANGED_ALL))
            cluster_pools_changed(&s->address->cluster,
                                  e->change == MACHINE_CHANGED_POOLS ? e->key : (struct span){ "", 0 });
    }
    (void)memory_enter(was);
}

void address_settle(struct sim_server *s)
{
    struct agent_session session;
    if (s->address == NULL)
        return;
    struct sim_server *was = memory_enter(s);
    agent_session(s->agent, &session);
    cluster_pools_session(&s->address->cluster, session.usable);
    cluster_pools_check(&s->address->cluster, s->boot_ns / SIM_MS);
    (void)memory_enter(was);
}

void address_obey(struct sim_server *s, uint32_t worker)
{
    if (s->address == NULL)
        return;
    struct sim_server *was = memory_enter(s);
    take_posted(&s->address->workers[worker], INT64_MAX);
    (void)memory_enter(was);
}

static void tick(struct address *a)
{
    struct cluster *c = &a->cluster;
    int64_t now_ms = a->s->boot_ns / SIM_MS;
    a->tick_ns = a->s->boot_ns + TICK_NS;
    warmup_tick(c, now_ms);
    cluster_pools_tick(c, now_ms);
    if (now_ms / (TICK_NS / SIM_MS) % SLOW_OF == 0) {
        tally_tick(c, now_ms);
        a->tallies = command_type_level(COMMAND_RECORD_REPORT) <= machine_features(a->s->m);
    }
}

bool address_turn(struct sim_server *s)
{
    bool any = false;
    if (s->address == NULL)
        return false;
    struct sim_server *was = memory_enter(s);
    for (uint32_t k = 0; k < SIM_WORKERS; k++)
        if (s->workers[k].stalled_until_ns <= sim.now_ns)
            any = worker_turn(&s->address->workers[k]) || any;
    if (s->boot_ns >= s->address->tick_ns) {
        tick(s->address);
        any = true;
    }
    (void)memory_enter(was);
    return any;
}

/* It goes on where it stood: what it has to send it sends first. */
void address_go_on(struct sim_server *s, bool stood)
{
    if (s->address == NULL)
        return;
    if (stood)
        address_check_stood(s->i);
    struct sim_server *was = memory_enter(s);
    for (uint32_t k = 0; k < SIM_WORKERS; k++)
        for (int i = 0; i < ADDRESS_CONNS; i++) {
            struct address_conn *x = &s->address->at[k].conns[i];
            if (x->open && x->due_ns <= sim.now_ns && s->workers[k].stalled_until_ns <= sim.now_ns)
                step(x);
        }
    (void)memory_enter(was);
}
