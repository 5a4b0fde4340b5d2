/* Names of clients, remembered. An entry is waiting for a look-up, under way, or known; the known ones stand
 * in the order of their last use, and the first of them makes room. One loop's thread.
 */
#include "node/net/client_names.h"

#include "base/ensure.h"
#include "base/map.h"

#include <stdlib.h>
#include <string.h>

#define UNDER_WAY_MAX 64
#define WAITING_MAX 1024
#define PER_NETWORK_MAX 16
#define ENTRIES_MAX 8192
#define WAIT_MS 10000
#define UNKNOWN_S 30 /* how long it counts that nothing could be found out */
#define LACKING_S 300

enum state { STATE_WAITING, STATE_UNDER_WAY, STATE_KNOWN };

struct client_names_entry {
    struct list link; /* of the list that the state names */
    struct client_names *names;
    struct ip_addr addr;
    struct ip_net net;
    enum state state;
    struct list waits;
    struct dns_request *request; /* UNDER_WAY */
    int64_t until_ms;            /* WAITING: then it is given up. KNOWN: it is asked anew */
    enum dns_status status, confirm_status;
    bool confirmed;
    char *name; /* NULL: none */
};

struct client_names {
    struct client_names_config config;
    struct timers *timers;
    struct timer timer; /* of the first that waits */
    struct dns *dns;
    struct map map;
    struct list waiting, under_way, known;
    uint32_t nwaiting, nunder_way;
    struct client_names_stats stats;
};

static uint64_t entry_hash(const void *item)
{
    return ip_addr_hash(&((const struct client_names_entry *)item)->addr);
}

static bool entry_match(const void *item, const void *key)
{
    return ip_addr_eq(&((const struct client_names_entry *)item)->addr, key);
}

static void names_timer_cb(struct timer *t);

struct client_names *client_names_new(struct timers *timers, const struct client_names_config *config)
{
    struct client_names *n = calloc(1, sizeof *n);
    if (n == NULL)
        return NULL;
    if (timer_init(&n->timer, timers, names_timer_cb) != 0) {
        free(n);
        return NULL;
    }
    struct client_names_config *c = &n->config;
    *c = *config;
    c->under_way_max = c->under_way_max > 0 ? c->under_way_max : UNDER_WAY_MAX;
    c->waiting_max = c->waiting_max > 0 ? c->waiting_max : WAITING_MAX;
    c->per_network_max = c->per_network_max > 0 ? c->per_network_max : PER_NETWORK_MAX;
    c->entries_max = c->entries_max > 0 ? c->entries_max : ENTRIES_MAX;
    c->wait_ms = c->wait_ms > 0 ? c->wait_ms : WAIT_MS;
    n->timers = timers;
    map_init(&n->map, entry_hash, entry_match);
    list_init(&n->waiting);
    list_init(&n->under_way);
    list_init(&n->known);
    return n;
}

static void entry_free(struct client_names_entry *e)
{
    ensure(list_empty(&e->waits));
    ensure(map_remove(&e->names->map, entry_hash(e), e));
    list_remove(&e->link);
    free(e->name);
    free(e);
}

void client_names_use(struct client_names *n, struct dns *d)
{
    if (n->dns == d)
        return;
    n->dns = d;
    LIST_EACH_SAFE(link, &n->known)
    entry_free(LIST_ITEM(link, struct client_names_entry, link));
}

void client_names_free(struct client_names *n)
{
    size_t at = 0;
    if (n == NULL)
        return;
    for (struct client_names_entry *e; (e = map_next(&n->map, &at)) != NULL;) {
        ensure(list_empty(&e->waits));
        if (e->request != NULL)
            dns_cancel(e->request);
        free(e->name);
        free(e);
    }
    map_fini(&n->map);
    timer_fini(&n->timer);
    free(n);
}

/* ---- answers ------------------------------------------------------------------------------------------- */

static void answer_of(const struct client_names_entry *e, struct dns_client *out)
{
    *out = (struct dns_client){ .status = e->status,
                                .confirmed = e->confirmed,
                                .confirm_status = e->confirm_status };
    if (e->name != NULL)
        memcpy(out->name, e->name, strlen(e->name) + 1);
}

static void unknown(struct dns_client *out)
{
    *out = (struct dns_client){ .status = DNS_TEMPORARY, .confirm_status = DNS_TEMPORARY };
}

/* Everybody who waits for it. They may ask and leave meanwhile. */
static void tell(struct client_names_entry *e, const struct dns_client *answer)
{
    for (struct list *link; (link = list_pop_front(&e->waits)) != NULL;) {
        struct client_names_wait *w = LIST_ITEM(link, struct client_names_wait, link);
        w->fn(w->ctx, answer);
    }
}

/* It is in no list, so that what is called back cannot make it go; then it is known, or gone. */
static void settle(struct client_names_entry *e, const struct dns_client *answer, int64_t keep_ms)
{
    struct client_names *n = e->names;
    list_remove(&e->link);
    e->state = STATE_KNOWN;
    e->status = answer->status;
    e->confirmed = answer->confirmed;
    e->confirm_status = answer->confirm_status;
    free(e->name);
    e->name = answer->name[0] != '\0' ? strdup(answer->name) : NULL;
    if (answer->name[0] != '\0' && e->name == NULL)
        keep_ms = 0; /* no memory: told, and not kept */
    e->until_ms = timers_now_ms(n->timers) + keep_ms;
    tell(e, answer);
    list_push_back(&n->known, &e->link);
    if (keep_ms == 0)
        entry_free(e);
}

/* ---- look-ups ------------------------------------------------------------------------------------------ */

static int64_t keep_ms_of(const struct dns_client *c)
{
    uint32_t max_s = c->status == DNS_TEMPORARY || (c->status == DNS_OK && c->confirm_status == DNS_TEMPORARY)
                         ? UNKNOWN_S
                     : c->confirmed ? UINT32_MAX
                                    : LACKING_S;
    return (int64_t)(c->ttl_s < max_s ? c->ttl_s : max_s) * 1000;
}

static void start_waiting(struct client_names *n);

static void names_found_cb(void *ctx, const struct dns_client *found)
{
    struct client_names_entry *e = ctx;
    struct client_names *n = e->names;
    e->request = NULL;
    n->nunder_way--;
    settle(e, found, keep_ms_of(found));
    start_waiting(n);
}

/* False: it cannot be asked, and is in no list. */
static bool look_up(struct client_names_entry *e)
{
    struct client_names *n = e->names;
    e->request = n->dns != NULL ? dns_client(n->dns, &e->addr, names_found_cb, e) : NULL;
    if (e->request == NULL)
        return false;
    e->state = STATE_UNDER_WAY;
    list_push_back(&n->under_way, &e->link);
    n->nunder_way++;
    n->stats.asked++;
    return true;
}

static void give_up(struct client_names_entry *e)
{
    struct dns_client answer;
    unknown(&answer);
    e->names->stats.refused++;
    settle(e, &answer, 0);
}

static struct client_names_entry *take_waiting(struct client_names *n)
{
    struct list *link = list_pop_front(&n->waiting);
    if (link == NULL)
        return NULL;
    n->nwaiting--;
    return LIST_ITEM(link, struct client_names_entry, link);
}

static void set_timer(struct client_names *n)
{
    struct list *link = list_first(&n->waiting);
    if (link == NULL)
        timer_stop(&n->timer);
    else
        timer_set(&n->timer,
                  LIST_ITEM(link, struct client_names_entry, link)->until_ms - timers_now_ms(n->timers));
}

static void start_waiting(struct client_names *n)
{
    while (n->nunder_way < n->config.under_way_max) {
        struct client_names_entry *e = take_waiting(n);
        if (e == NULL)
            break;
        if (!look_up(e))
            give_up(e);
    }
    set_timer(n);
}

static void names_timer_cb(struct timer *t)
{
    struct client_names *n = TIMER_ITEM(t, struct client_names, timer);
    int64_t now_ms = timers_now_ms(n->timers);
    struct list *link;
    while ((link = list_first(&n->waiting)) != NULL &&
           LIST_ITEM(link, struct client_names_entry, link)->until_ms <= now_ms)
        give_up(take_waiting(n));
    set_timer(n);
}

/* ---- asking -------------------------------------------------------------------------------------------- */

static uint32_t of_network(const struct client_names *n, const struct ip_net *net)
{
    uint32_t of = 0;
    LIST_EACH(link, &n->under_way)
    of += ip_addr_eq(&LIST_ITEM(link, struct client_names_entry, link)->net.addr, &net->addr);
    LIST_EACH(link, &n->waiting)
    of += ip_addr_eq(&LIST_ITEM(link, struct client_names_entry, link)->net.addr, &net->addr);
    return of;
}

/* A look-up may begin now, or (`needed`) wait. */
static bool room(const struct client_names *n, bool needed, const struct ip_net *net)
{
    uint32_t free_for = needed ? n->config.under_way_max : n->config.under_way_max / 2;
    bool now = n->nunder_way < free_for && list_empty(&n->waiting);
    return (now || (needed && n->nwaiting < n->config.waiting_max)) &&
           of_network(n, net) < n->config.per_network_max;
}

static struct client_names_entry *entry_new(struct client_names *n, const struct ip_addr *addr,
                                            const struct ip_net *net)
{
    struct list *oldest = list_first(&n->known);
    if (n->map.len >= n->config.entries_max && oldest != NULL)
        entry_free(LIST_ITEM(oldest, struct client_names_entry, link));
    struct client_names_entry *e = n->map.len < n->config.entries_max ? calloc(1, sizeof *e) : NULL;
    if (e == NULL)
        return NULL;
    e->names = n;
    e->addr = *addr;
    e->net = *net;
    list_init(&e->waits);
    if (map_add(&n->map, entry_hash(e), e) != 0) {
        free(e);
        return NULL;
    }
    return e;
}

/* NULL: over a bound. */
static struct client_names_entry *begin(struct client_names *n, const struct ip_addr *addr, bool needed)
{
    struct ip_net net = ip_net_around(addr, addr->family == 6 ? 48 : 24);
    struct client_names_entry *e = room(n, needed, &net) ? entry_new(n, addr, &net) : NULL;
    if (e == NULL)
        return NULL;
    if (n->nunder_way < n->config.under_way_max && list_empty(&n->waiting)) {
        if (look_up(e))
            return e;
        list_push_back(&n->known, &e->link);
        entry_free(e);
        return NULL;
    }
    e->state = STATE_WAITING;
    e->until_ms = timers_now_ms(n->timers) + n->config.wait_ms;
    list_push_back(&n->waiting, &e->link);
    n->nwaiting++;
    set_timer(n);
    return e;
}

bool client_names_ask(struct client_names *n, const struct ip_addr *addr, bool needed,
                      struct client_names_wait *wait, dns_client_fn *fn, void *ctx, struct dns_client *out)
{
    ensure(!list_linked(&wait->link));
    struct client_names_entry *e = map_find(&n->map, ip_addr_hash(addr), addr);
    if (e != NULL && e->state == STATE_KNOWN) {
        bool fresh = e->until_ms > timers_now_ms(n->timers);
        bool settling = !list_linked(&e->link); /* its answer is just being told */
        if (fresh || settling) {
            answer_of(e, out);
            n->stats.remembered++;
            if (!settling) {
                list_remove(&e->link);
                list_push_back(&n->known, &e->link);
            }
            return true;
        }
        entry_free(e);
        e = NULL;
    }
    if (e == NULL)
        e = begin(n, addr, needed);
    if (e == NULL) {
        n->stats.refused++;
        unknown(out);
        return true;
    }
    wait->fn = fn;
    wait->ctx = ctx;
    list_push_back(&e->waits, &wait->link);
    return false;
}

void client_names_leave(struct client_names_wait *wait)
{
    list_remove(&wait->link);
}

void client_names_stats(const struct client_names *n, struct client_names_stats *out)
{
    *out = n->stats;
    out->under_way = n->nunder_way;
    out->waiting = n->nwaiting;
    out->entries = (uint32_t)n->map.len;
}
