/* What the files of the scheduler share; for nobody else. */
#ifndef NODE_QUEUE_IMPL_H
#define NODE_QUEUE_IMPL_H

#include "base/heap.h"
#include "base/map.h"
#include "node/queue/pool.h"
#include "node/queue/queue.h"
#include "node/queue/wheel.h"

#define TICK_MS 100
#define TICK_NEVER UINT32_MAX
#define LANES_SCANNED_MAX 16 /* a site with more senders than this finds them by a table */

/* One cache line. */
struct queue_item {
    uint64_t id;
    uint32_t self;
    uint32_t lane;
    struct pool_link list;   /* in the lane: `ready`, or `rest` in any other state */
    struct wheel_link wheel; /* if `timed` */
    struct pool_link same;   /* ring of the items with this id */
    uint32_t arrival;        /* tick */
    uint32_t next;           /* tick, of a WAITING item; of a HELD one: since when it is */
    union {
        uint32_t few[2];
        uint32_t *many; /* own memory, when nrcpts > 2 */
    } rcpts;
    uint16_t nrcpts;
    uint16_t attempts;
    uint32_t size_kib : 21;
    uint32_t state : 2;
    uint32_t class : 2;
    uint32_t delay_told : 1;
    uint32_t hold_wanted : 1;
    uint32_t timed : 1;
    uint32_t expiring : 1; /* the shell was told to, and could not */
    uint32_t renewed : 1;  /* `arrival` is when it was released */
};

_Static_assert(sizeof(struct queue_item) == 64, "an item is one cache line");

/* A sender's place at a site: it exists while it has an item. */
struct lane {
    uint32_t self, site, sender;
    uint16_t deficit; /* messages left of its turn; 0: the turn has not begun */
    bool active;      /* has a ready item: in the site's `active`, else in `idle` */
    struct pool_list ready, rest;
    struct pool_link ring;      /* site's active or idle */
    struct pool_link of_sender; /* sender's lanes */
};

struct sender {
    uint32_t self;
    uint32_t nlanes;
    struct pool_list lanes;
    uint32_t state[QUEUE_STATES];
    uint32_t name_bytes, tenant_bytes;
    char *name;  /* own memory; the tenant's name follows */
    bool frozen; /* its ready items are not offered, none of its items expires */
};

enum site_rest { SITE_BUSY, SITE_KEPT, SITE_DROPPED };

struct queue_site {
    uint32_t self;
    uint32_t key_bytes;
    char *key; /* own memory */
    void *data;
    struct pool_list active, idle; /* lanes */
    uint32_t nlanes;
    struct map *lanes; /* by sender; NULL until there are more than LANES_SCANNED_MAX */
    uint32_t state[QUEUE_STATES];
    uint32_t frozen;  /* of those READY: of frozen senders */
    uint32_t conns;   /* opened ones */
    uint32_t opening; /* those asked for are in it from the action on */
    uint32_t unbound; /* of those: queue_conn_init not called yet */
    uint32_t taking;  /* opened ones that are about to call queue_take */
    uint32_t closing; /* opened ones that are about to be closed */
    uint32_t nidle;
    struct list idle_conns;
    uint32_t limit, conns_max; /* conns_max 0: the default */
    int64_t paused_ms, interval_ms; /* of its shape; while paused_ms has not come nothing is taken */
    int64_t paced_ms;               /* likewise, by queue_site_pace */
    uint32_t credit;           /* successes since the limit grew */
    uint32_t failures;
    uint32_t probes; /* while down: failed ones, for the schedule */
    uint32_t error_bytes;
    char *error; /* own memory */
    bool down;
    bool probing;  /* its one opening connection is counted in queue.probing */
    bool blocked;  /* no connection is opened for it: queue_site_block */
    bool in_probe; /* `open` is a link of queue.probe */
    uint8_t rest;  /* enum site_rest */
    int64_t down_since_ms, not_before_ms, trouble_ms, error_ms, success_ms;
    int64_t rest_ms;        /* when it became SITE_KEPT */
    struct heap_node timer; /* at not_before_ms, when something waits for that */
    struct list use, open;  /* in the queue's rings */
    struct list rest_link;  /* in kept or dropped */
};

struct queue {
    struct queue_config config;
    int64_t base_ms;  /* tick 0 */
    int64_t start_ms; /* for expire_grace_ms */
    int64_t now_ms;   /* the last time we were told */
    uint64_t random;
    struct pool items, lanes, senders, sites;
    struct map by_id, by_sender, by_site;
    struct wheel wheel;
    struct heap timers;   /* of sites */
    struct list use;      /* sites with work for an idle connection */
    struct list open;     /* sites that want one more connection */
    struct list probe;    /* likewise, of those that failed last time */
    struct list closing;  /* connections to be closed */
    struct list idle_lru; /* all idle connections, longest first */
    struct list kept, dropped;
    uint32_t nkept, ndown;
    uint32_t conns, opening, nidle;
    uint32_t probing; /* of opening: to sites that failed last time */
    bool probe_turn;  /* the two rings take turns */
    uint32_t state[QUEUE_STATES];
    bool more_due;      /* the last poll stopped at its bound */
    uint64_t own_bytes; /* keys, names, recipients */
    uint64_t steps;
    queue_site_gone_fn *gone;
    void *gone_ctx;
    queue_frozen_fn *is_frozen;
    void *is_frozen_ctx;
    queue_held_fn *on_held;
    void *on_held_ctx;
};

#define ITEM_LIST offsetof(struct queue_item, list)
#define ITEM_WHEEL offsetof(struct queue_item, wheel)
#define LANE_RING offsetof(struct lane, ring)
#define LANE_OF_SENDER offsetof(struct lane, of_sender)

static inline struct queue_item *item_at(const struct queue *q, uint32_t handle)
{
    return pool_at(&q->items, handle);
}

static inline struct lane *lane_at(const struct queue *q, uint32_t handle)
{
    return pool_at(&q->lanes, handle);
}

static inline struct sender *sender_at(const struct queue *q, uint32_t handle)
{
    return pool_at(&q->senders, handle);
}

static inline struct queue_site *site_at(const struct queue *q, uint32_t handle)
{
    return pool_at(&q->sites, handle);
}

static inline const uint32_t *item_rcpts(const struct queue_item *item)
{
    return item->nrcpts > 2 ? item->rcpts.many : item->rcpts.few;
}

/* item.c */
uint32_t queue_tick_floor(const struct queue *q, int64_t ms);
uint32_t queue_tick_ceil(const struct queue *q, int64_t ms);
int64_t queue_tick_ms(const struct queue *q, uint32_t tick);
uint64_t queue_random(struct queue *q);
/* The longest that anything is ever put off: what a clock that jumped back may not exceed. */
int64_t queue_longest_wait_ms(const struct queue *q);
/* The tick at which the item wants attention in its present state, or TICK_NEVER. */
uint32_t queue_item_due(const struct queue *q, const struct queue_item *item);
/* Puts it into the wheel for that, or takes it out. */
void queue_item_schedule(struct queue *q, struct queue_item *item);
/* Moves it between its lane's lists, and counts; `front`: before its sender's other ready ones. */
void queue_item_enter(struct queue *q, struct queue_item *item, enum queue_state state, bool front);

static inline bool item_frozen(const struct queue *q, const struct queue_item *item)
{
    return sender_at(q, lane_at(q, item->lane)->sender)->frozen;
}

/* Until then nothing is taken for it. */
static inline int64_t site_paused_ms(const struct queue_site *site)
{
    return site->paused_ms > site->paced_ms ? site->paused_ms : site->paced_ms;
}

/* Items that a connection could be given. */
static inline uint32_t site_offered(const struct queue_site *site)
{
    return site->state[QUEUE_STATE_READY] - site->frozen;
}

/* lane.c: the lane of this sender at this site, made if there is none; NULL: no memory */
struct lane *queue_lane_get(struct queue *q, struct queue_site *site, struct span sender, struct span tenant);
/* Frees it if it has no item, and the sender if that was its last; the site goes to rest if it may. */
void queue_lane_settle(struct queue *q, struct lane *lane);
/* Tells that its ready list became empty or not. */
void queue_lane_activate(struct queue *q, struct lane *lane);
void queue_lanes_init(struct queue *q);
void queue_lanes_fini(struct queue *q);

/* site.c */
struct queue_site *queue_site_get(struct queue *q, struct span key);
/* Puts the site into the rings and timers that its state asks for. After every change of its items or
 * connections. */
void queue_site_update(struct queue *q, struct queue_site *site);
/* How many connections it may have now. */
uint32_t queue_site_cap(const struct queue *q, const struct queue_site *site);
void queue_site_free(struct queue *q, struct queue_site *site);
void queue_sites_init(struct queue *q);
void queue_sites_fini(struct queue *q);
/* Its last connection failed and none is open: it gets one, from the share for such sites. */
bool queue_site_failing(const struct queue_site *site);
/* Frees those whose time is over. */
void queue_sites_sweep(struct queue *q);

/* conn.c: the next connection to close, use or open, if any */
bool queue_conn_to_close(struct queue *q, struct queue_action *out);
bool queue_conn_to_use(struct queue *q, struct queue_action *out);
bool queue_conn_to_open(struct queue *q, struct queue_action *out);
/* One is to be opened, and there is a place for it or can be made. */
bool queue_conn_wanted(const struct queue *q);

#endif
