/* What must hold of source addresses, their days and senders' records. Who may use an address is judged at
 * the moment in which bytes leave, by the newest state that any node has; how many messages a day has, by
 * counting them; a record, by what its process counted.
 */
#include "test/sim/address.h"

#include <stdio.h>

#define DAYS_MAX 4096
#define PROCESSES_MAX 1024
#define UNSEEN_MAX 1024
#define KINDS 2 /* RECORD_DELIVERED, RECORD_DEFERRED */

/* A day of an address's plan to one site. */
struct day {
    struct ip_addr addr;
    uint32_t site;
    uint64_t plan, until_ms;
    uint32_t sent, most; /* UINT32_MAX: any number */
};
struct process {
    uint32_t server, counted[KINDS];
    bool runs;
};

static struct day days[DAYS_MAX];
static uint32_t ndays;
static uint64_t unseen[UNSEEN_MAX]; /* plans */
static uint32_t nunseen;
static struct process processes[PROCESSES_MAX];
static uint32_t nprocesses;
static bool stood[SIM_SERVERS_MAX];
static uint32_t last_sender[ADDRESS_N]; /* its number, from 1 */

void address_check_begin(void)
{
    ndays = nprocesses = nunseen = 0;
    memset(stood, 0, sizeof stood);
    memset(last_sender, 0, sizeof last_sender);
}

void address_check_stood(uint32_t server)
{
    stood[server] = true;
}

/* ---- who sends ------------------------------------------------------------------------------------------
 */

struct sought {
    struct span address;
    struct directory_ip ip;
    bool found;
};

static int find_cb(void *arg, const struct directory_ip *ip)
{
    struct sought *x = arg;
    x->found = span_eq(ip->address, x->address);
    x->ip = *ip;
    return x->found;
}

static bool find(const struct machine *m, const struct ip_addr *addr, char text[IP_TEXT_MAX],
                 struct directory_ip *out)
{
    struct sought x = { .address = span_str(ip_addr_format(addr, text)) };
    (void)directory_ip_each(m, find_cb, &x);
    *out = x.ip;
    return x.found;
}

void address_check_opened(const struct sim_server *s, const struct conn *c)
{
    struct directory_ip ip;
    char text[IP_TEXT_MAX];
    check_sums.connections++;
    if (!find(s->m, &c->source_addr, text, &ip) || ip.node != server_id(s) || ip.next != 0 ||
        ip.use != COMMAND_USE_ON)
        check_fault("node %u connects from %s, which its state does not let it", s->i + 1, text);
}

static uint32_t index_of(const char *text)
{
    uint32_t k = 0;
    while (k < ADDRESS_N && strcmp(address_names[k], text) != 0)
        k++;
    ensure(k < ADDRESS_N);
    return k;
}

/* A node that is cut off goes on with an address that is bound to its machine, whatever operators do. */
static bool is_cut_off(const struct machine *m, const struct conn *c, const struct directory_ip *ip)
{
    struct machine_session session;
    return !ip->floats && !machine_session_find(m, c->session, &session);
}

static void check_user(const struct sim_server *s, const struct machine *m, const struct conn *c)
{
    struct directory_ip ip;
    char text[IP_TEXT_MAX];
    if (!find(m, &c->source_addr, text, &ip) ||
        (ip.node != server_id(s) && ip.unsure != server_id(s) && !is_cut_off(m, c, &ip)))
        check_fault("node %u sends from %s, which is node %llu's", s->i + 1, text,
                    (unsigned long long)ip.node);
    uint32_t k = index_of(text);
    check_sums.moves += last_sender[k] != 0 && last_sender[k] != s->i + 1;
    last_sender[k] = s->i + 1;
}

/* ---- how much -------------------------------------------------------------------------------------------
 */

static uint32_t site_of(const struct conn *c)
{
    struct span name = egress_sites_key(c->site);
    for (uint32_t k = 0; k < ADDRESS_SITES; k++)
        if (name.n > strlen(address_sites[k]) && memcmp(name.p + name.n - strlen(address_sites[k]),
                                                        address_sites[k], strlen(address_sites[k])) == 0)
            return k;
    ensure_failed("a site", __FILE__, __LINE__);
}

/* Of the plan's own words: so many on the first day, so much more on each further one. */
static uint32_t volume(const struct directory_warmup_settings *set, uint32_t step)
{
    uint64_t n = set->first;
    if (step >= set->days)
        return UINT32_MAX;
    for (uint32_t i = 0; i < step; i++)
        n += n * (set->growth_pct - 100) / 100 > 0 ? n * (set->growth_pct - 100) / 100 : 1;
    return (uint32_t)n;
}

/* NULL: nobody had any of that day. */
static struct day *day_find(const struct day *key)
{
    for (uint32_t i = ndays; i-- > 0;) {
        struct day *d = &days[i];
        if (d->plan == key->plan && d->until_ms == key->until_ms && d->site == key->site &&
            ip_addr_eq(&d->addr, &key->addr))
            return d;
    }
    return NULL;
}

struct reading {
    struct ip_addr addr;
    const struct directory_warming *w;
};

static int site_cb(void *arg, const struct directory_warming_site *s)
{
    const struct reading *r = arg;
    struct day key = { .addr = r->addr, .plan = r->w->plan, .until_ms = s->until_ms };
    while (key.site < ADDRESS_SITES && !span_eq(s->site, span_str(address_sites[key.site])))
        key.site++;
    if (key.site == ADDRESS_SITES)
        return 0;
    struct day *d = day_find(&key);
    if (d == NULL) {
        ensure(ndays < DAYS_MAX);
        d = &days[ndays++];
        *d = key;
    }
    uint32_t most = volume(&r->w->set, s->step);
    d->most = most > d->most ? most : d->most;
    return 0;
}

/* Messages of some day were handed out. An operator may change a plan that runs: of each of its days there are as many as
 * it had at most when some were. */
static void reserved(const struct machine *m)
{
    for (uint32_t i = 0; i < ADDRESS_N; i++) {
        struct directory_warming w;
        struct reading r = { .w = &w };
        struct span address = span_str(address_names[i]);
        if (!directory_warming_find(m, address, &w))
            continue;
        ensure(ip_addr_parse(address, &r.addr) == 0);
        (void)directory_warming_site_each(m, address, site_cb, &r);
    }
}

static bool changes_plans(const struct machine_effect *e)
{
    return e->is_result && e->result.err == 0 &&
           (e->command == COMMAND_WARMUP_START || e->command == COMMAND_WARMUP_STOP ||
            e->command == COMMAND_WARMUP_STEP);
}

static bool runs(const struct machine *m, uint64_t plan)
{
    struct directory_warming w;
    for (uint32_t i = 0; i < ADDRESS_N; i++)
        if (directory_warming_find(m, span_str(address_names[i]), &w) && w.plan == plan)
            return true;
    return false;
}

/* The state is read when a whole entry was applied: an operator may have ended the plan by then, or changed it, in a
 * command behind that which had some of its day handed out. How many the day had cannot be judged then. */
static void changed_meanwhile(const struct machine *m, const struct machine_effects *effects)
{
    uint32_t last = 0;
    for (uint32_t i = 0; i < effects->n; i++)
        if (changes_plans(&effects->items[i]))
            last = i;
    for (uint32_t i = 0; i < last; i++) {
        const struct machine_effect *e = &effects->items[i];
        if (!e->is_result || e->command != COMMAND_WARMUP_RESERVE || e->result.err != 0)
            continue;
        ensure(nunseen < UNSEEN_MAX);
        if (!runs(m, e->result.id))
            unseen[nunseen++] = e->result.id;
        for (uint32_t k = 0; k < ndays; k++)
            if (days[k].plan == e->result.id && days[k].until_ms > machine_now_ms(m))
                days[k].most = UINT32_MAX;
    }
}

static bool may_be_unseen(uint64_t plan)
{
    for (uint32_t i = 0; i < nunseen; i++)
        if (unseen[i] == plan)
            return true;
    return false;
}

static void check_day(const struct sim_server *s, const struct conn *c)
{
    char text[IP_TEXT_MAX];
    const struct day key = {
        .addr = c->source_addr, .site = site_of(c), .plan = c->token.plan, .until_ms = c->token.until_ms
    };
    struct day *d = day_find(&key);
    (void)ip_addr_format(&c->source_addr, text);
    const struct machine *m = check_newest();
    /* To a machine whose clocks stood still a day is as much longer. What it sends counts for its day all the same. */
    if (m != NULL && machine_now_ms(m) > key.until_ms && !stood[s->i])
        check_fault("a message leaves from %s %llu ms after its day's end", text,
                    (unsigned long long)(machine_now_ms(m) - key.until_ms));
    if (d == NULL && may_be_unseen(key.plan))
        return;
    if (d == NULL) {
        check_fault("a message of a day that nobody was given leaves from %s", text);
        return;
    }
    d->sent++;
    if (d->most == UINT32_MAX)
        return;
    check_sums.days += d->sent == d->most;
    if (d->sent > d->most)
        check_fault("message %u of a day of %u leaves from %s", d->sent, d->most, text);
}

/* A worker that acts on the newest state keeps to the plan. */
static void check_planned(const struct sim_server *s, const struct conn *c)
{
    const struct cluster *cluster = &s->address->cluster;
    struct directory_warming w;
    char text[IP_TEXT_MAX];
    const struct pool_view *v = c->e->w->pools;
    if (c->warming || v == NULL || pool_view_state(v) != cluster_pools_state(cluster))
        return;
    if (directory_warming_find(s->m, span_str(ip_addr_format(&c->source_addr, text)), &w))
        check_fault("node %u sends from %s, which warms up, as many as it likes", s->i + 1, text);
}

void address_check_sends(const struct sim_server *s, const struct conn *c, bool first)
{
    const struct machine *m = check_newest();
    if (m == NULL)
        return;
    check_user(s, m, c);
    if (!first)
        return;
    check_sums.sent++;
    check_planned(s, c);
    if (c->warming)
        check_day(s, c);
}

/* ---- records --------------------------------------------------------------------------------------------
 */

uint32_t address_check_process(const struct sim_server *s)
{
    ensure(nprocesses < PROCESSES_MAX);
    for (uint32_t i = 0; i < nprocesses; i++)
        processes[i].runs = processes[i].runs && processes[i].server != s->i;
    processes[nprocesses] = (struct process){ .server = s->i, .runs = true };
    return nprocesses++;
}

const char *address_check_account(uint32_t process)
{
    static char text[32];
    snprintf(text, sizeof text, "process-%u", process);
    return text;
}

void address_check_counted(uint32_t process, uint8_t kind)
{
    processes[process].counted[kind]++;
}

/* False: less is in the record than was counted. */
static bool check_record(const struct machine *m, uint32_t process)
{
    struct directory_record r = { .version = 0 };
    const struct process *p = &processes[process];
    bool all = true;
    (void)directory_record_find(m, span_str(address_check_account(process)), &r);
    for (int w = 0; w < DIRECTORY_RECORD_WINDOWS; w++)
        for (int k = 0; k < KINDS; k++) {
            if (r.counts[w][k] > p->counted[k])
                check_fault("%llu of %u that node %u counted are in its sender's record",
                            (unsigned long long)r.counts[w][k], p->counted[k], p->server + 1);
            all = all && r.counts[w][k] == p->counted[k];
        }
    return all;
}

/* Web senders: not more of a host, nor in all, than whoever claims lets be. */
static void check_webs(const struct machine *m)
{
    uint32_t n[3] = { 0 };
    struct directory_web found;
    static const char *const names[][3] = { { "web:a@example.com/1", "web:a@example.com/2", "web:a@example.com/3" },
                                            { "web:b@example.com/1", "web:b@example.com/2" },
                                            { "web:c@example.com/1" } };
    for (int host = 0; host < 3; host++) {
        for (int i = 0; i < 3 && names[host][i] != NULL; i++)
            n[host] += directory_web_find(m, span_str(names[host][i]), &found);
        if (n[host] > ADDRESS_WEBS_OF_HOST)
            check_fault("a host has %u web senders", n[host]);
    }
    if (n[0] + n[1] + n[2] > ADDRESS_WEBS)
        check_fault("there are %u web senders", n[0] + n[1] + n[2]);
}

void address_check_applied(const struct sim_server *s)
{
    for (uint32_t i = 0; i < s->effects.n; i++) {
        const struct machine_effect *e = &s->effects.items[i];
        bool report = e->command == COMMAND_RECORD_REPORT || e->command == COMMAND_SENDER_LOOK;
        if (e->is_result && e->command == COMMAND_WARMUP_RESERVE && e->result.err == 0)
            reserved(s->m);
        if (e->is_result && e->command == COMMAND_WEB_CLAIM)
            check_webs(s->m);
        if (!e->is_result || !report || e->result.err != 0)
            continue;
        check_sums.reports++;
        for (uint32_t k = 0; k < nprocesses; k++)
            (void)check_record(s->m, k);
    }
    changed_meanwhile(s->m, &s->effects);
}

/* ---- the end --------------------------------------------------------------------------------------------
 */

static int owned_cb(void *arg, const struct directory_ip *ip)
{
    char text[64];
    const struct directory_floating *f = arg;
    snprintf(text, sizeof text, "%.*s", (int)ip->address.n, ip->address.p);
    if (ip->floats && ip->node == 0 && ip->unsure == 0 && f->mode == COMMAND_FLOATING_AUTOMATIC && f->per_node == 0)
        check_fault("%s is nobody's though all is well", text);
    return 0;
}

static int pool_cb(void *arg, const struct directory_pool *p)
{
    if (span_eq(p->name, span_str(address_pools[1])))
        *(struct directory_floating *)arg = p->floating;
    return 0;
}

bool address_check_idle(void)
{
    const struct machine *m = check_newest();
    bool all = m != NULL;
    for (uint32_t i = 0; sim.addresses && all && i < nprocesses; i++)
        if (processes[i].runs && !sim.servers[processes[i].server].removed)
            all = check_record(m, i);
    return all || !sim.addresses;
}

void address_check_end(void)
{
    struct directory_floating floating = { 0 };
    const struct machine *m = check_newest();
    if (!sim.addresses)
        return;
    if (!address_check_idle())
        check_fault("less is in a sender's record than was counted");
    if (m == NULL)
        return;
    (void)directory_pool_each(m, pool_cb, &floating);
    (void)directory_ip_each(m, owned_cb, &floating);
}
