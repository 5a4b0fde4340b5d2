/* Source addresses that warm up: so many messages a day to each site, more from day to day. The rules are in
 * docs/warmup.md.
 *
 * A plan is of one address; each site it sends to has its own step and counts, up to the plan's number of
 * sites; the others share one record, WARMUP_REST. A day is 24 hours of cluster time. What belongs to a day
 * that is over is settled at the first command that comes for the site afterwards: by counts and settings
 * alone, so that all nodes come to the same step.
 *
 * Tokens: `reserved` counts what was handed out today, and comes down only by what the session that has them
 * gives back of the same day. What a node lost, or keeps from before, stays reserved: at most the day's
 * volume is handed out, whatever becomes of nodes and addresses. From feature level 4 on.
 */
#include "base/ensure.h"
#include "consensus/directory_impl.h"

#include <errno.h>
#include <stdlib.h>

#define WARMUP_FEATURE 4
#define WARMUP_DAY_MS UINT64_C(86400000)
#define WARMUP_VOLUME_MAX 1000000000u
#define WARMUP_LIFE_MAX_MS 600000 /* of tokens: what is not used comes back */
#define WARMUP_BATCHES 8          /* a node gets at most so much of a day's volume at a time */

struct warming {
    struct store_rec rec;
    struct span address, who;
    uint64_t plan;       /* id of the first START */
    uint64_t version;    /* of the last */
    uint64_t begun_ms;   /* cluster time */
    uint64_t day_end_ms; /* of the first day */
    int64_t wall_ms;
    struct directory_warmup_settings set;
    uint32_t sites; /* rebuilt, not written: those with a record of their own */
};

struct site {
    struct store_rec rec;
    struct directory_warmup_counts today, before;
    uint64_t until_ms; /* the end of the day that `today` is of */
    uint64_t holder;   /* the session that has `held` */
    uint32_t step, reserved, held;
    uint8_t verdict; /* of the day before: enum directory_warmup_verdict */
    uint16_t naddress, nsite;
    char text[]; /* address, 0, site: the key */
};

/* ---- records ------------------------------------------------------------------------------------------- */

static struct span warming_key(const struct store_rec *rec, char scratch[STORE_KEY_MAX])
{
    (void)scratch;
    return ((const struct warming *)rec)->address;
}

static void warming_encode(const struct store_rec *rec, struct buf *out)
{
    const struct warming *w = (const struct warming *)rec;
    (void)buf_put_counted(out, w->address);
    (void)buf_put_counted(out, w->who);
    (void)buf_put_u64(out, w->plan);
    (void)buf_put_u64(out, w->version);
    (void)buf_put_u64(out, w->begun_ms);
    (void)buf_put_u64(out, w->day_end_ms);
    (void)buf_put_u64(out, (uint64_t)w->wall_ms);
    (void)buf_put_u32(out, w->set.first);
    (void)buf_put_u32(out, w->set.growth_pct);
    (void)buf_put_u32(out, w->set.days);
    (void)buf_put_u32(out, w->set.fill_pct);
    (void)buf_put_u32(out, w->set.deferral_permille);
    (void)buf_put_u32(out, w->set.complaint_permille);
    (void)buf_put_u32(out, w->set.sites);
    (void)buf_put_u8(out, w->set.step_back ? 1 : 0);
}

static void warming_free(struct store_rec *rec)
{
    struct warming *w = (struct warming *)rec;
    directory_texts_free(TEXTS(&w->address, &w->who));
    free(w);
}

static bool settings_ok(const struct directory_warmup_settings *s)
{
    return s->first >= 1 && s->first <= DIRECTORY_WARMUP_FIRST_MAX && s->growth_pct > 100 &&
           s->growth_pct <= DIRECTORY_WARMUP_GROWTH_MAX && s->days >= 1 &&
           s->days <= DIRECTORY_WARMUP_DAYS_MAX && s->fill_pct <= 100 && s->deferral_permille <= 1000 &&
           s->complaint_permille <= 1000 && s->sites <= DIRECTORY_WARMUP_SITES_MAX;
}

static int warming_decode(struct cursor *c, struct store_rec **out)
{
    struct warming *w = calloc(1, sizeof *w);
    if (w == NULL)
        return -ENOMEM;
    int err = directory_texts_decode(c, TEXTS(&w->address, &w->who));
    w->plan = cursor_u64(c);
    w->version = cursor_u64(c);
    w->begun_ms = cursor_u64(c);
    w->day_end_ms = cursor_u64(c);
    w->wall_ms = (int64_t)cursor_u64(c);
    w->set.first = cursor_u32(c);
    w->set.growth_pct = cursor_u32(c);
    w->set.days = cursor_u32(c);
    w->set.fill_pct = cursor_u32(c);
    w->set.deferral_permille = cursor_u32(c);
    w->set.complaint_permille = cursor_u32(c);
    w->set.sites = cursor_u32(c);
    uint8_t step_back = cursor_u8(c);
    w->set.step_back = step_back == 1;
    if (err == 0)
        err = cursor_err(c);
    if (err == 0 && (w->address.n == 0 || w->address.n > COMMAND_NAME_MAX || step_back > 1 ||
                     w->begun_ms > INT64_MAX || w->day_end_ms <= w->begun_ms ||
                     w->day_end_ms - w->begun_ms > WARMUP_DAY_MS || !settings_ok(&w->set)))
        err = ERR_CORRUPT;
    if (err != 0)
        warming_free(&w->rec);
    else
        *out = &w->rec;
    return err;
}

const struct store_type directory_warming_type = {
    50, "warming address", warming_key, warming_encode, warming_decode, warming_free
};

static struct span site_key(const struct store_rec *rec, char scratch[STORE_KEY_MAX])
{
    (void)scratch;
    const struct site *s = (const struct site *)rec;
    return span_of(s->text, (size_t)s->naddress + 1 + s->nsite);
}

static struct span address_of(const struct site *s)
{
    return span_of(s->text, s->naddress);
}

static struct span name_of(const struct site *s)
{
    return span_of(s->text + s->naddress + 1, s->nsite);
}

static void counts_encode(const struct directory_warmup_counts *n, struct buf *out)
{
    (void)buf_put_u32(out, n->delivered);
    (void)buf_put_u32(out, n->deferred);
    (void)buf_put_u32(out, n->refused);
    (void)buf_put_u32(out, n->complaints);
}

static void counts_decode(struct cursor *c, struct directory_warmup_counts *n)
{
    n->delivered = cursor_u32(c);
    n->deferred = cursor_u32(c);
    n->refused = cursor_u32(c);
    n->complaints = cursor_u32(c);
}

static void site_encode(const struct store_rec *rec, struct buf *out)
{
    const struct site *s = (const struct site *)rec;
    (void)buf_put_counted(out, address_of(s));
    (void)buf_put_counted(out, name_of(s));
    counts_encode(&s->today, out);
    counts_encode(&s->before, out);
    (void)buf_put_u64(out, s->until_ms);
    (void)buf_put_u64(out, s->holder);
    (void)buf_put_u32(out, s->step);
    (void)buf_put_u32(out, s->reserved);
    (void)buf_put_u32(out, s->held);
    (void)buf_put_u8(out, s->verdict);
}

static void site_free(struct store_rec *rec)
{
    free(rec);
}

/* NULL: no memory. */
static struct site *site_make(struct span address, struct span name)
{
    struct site *s = calloc(1, sizeof *s + address.n + 1 + name.n);
    if (s == NULL)
        return NULL;
    s->naddress = (uint16_t)address.n;
    s->nsite = (uint16_t)name.n;
    memcpy(s->text, address.p, address.n);
    memcpy(s->text + address.n + 1, name.p, name.n);
    return s;
}

static int site_decode(struct cursor *c, struct store_rec **out)
{
    struct span address = cursor_counted(c), name = cursor_counted(c);
    if (cursor_err(c))
        return cursor_err(c);
    if (address.n == 0 || address.n > COMMAND_NAME_MAX || name.n == 0 || name.n > COMMAND_WARMUP_SITE_MAX)
        return ERR_CORRUPT;
    struct site *s = site_make(address, name);
    if (s == NULL)
        return -ENOMEM;
    counts_decode(c, &s->today);
    counts_decode(c, &s->before);
    s->until_ms = cursor_u64(c);
    s->holder = cursor_u64(c);
    s->step = cursor_u32(c);
    s->reserved = cursor_u32(c);
    s->held = cursor_u32(c);
    s->verdict = cursor_u8(c);
    int err = cursor_err(c);
    if (err == 0 &&
        (s->until_ms > INT64_MAX || s->step > DIRECTORY_WARMUP_DAYS_MAX || s->held > s->reserved ||
         s->reserved > WARMUP_VOLUME_MAX || s->verdict > DIRECTORY_WARMUP_BACK))
        err = ERR_CORRUPT;
    if (err != 0)
        free(s);
    else
        *out = &s->rec;
    return err;
}

const struct store_type directory_warming_site_type = { 51,          "warming site", site_key,
                                                        site_encode, site_decode,    site_free };

static struct warming *warming_get(const struct machine *m, struct span address)
{
    return (struct warming *)store_find(m->store, &directory_warming_type, address);
}

static struct site *site_get(const struct machine *m, struct span address, struct span name)
{
    char key[COMMAND_NAME_MAX + 1 + COMMAND_WARMUP_SITE_MAX];
    ensure(address.n <= COMMAND_NAME_MAX);
    ensure(name.n <= COMMAND_WARMUP_SITE_MAX);
    memcpy(key, address.p, address.n);
    key[address.n] = 0;
    memcpy(key + address.n + 1, name.p, name.n);
    return (struct site *)store_find(m->store, &directory_warming_site_type,
                                     span_of(key, address.n + 1 + name.n));
}

int directory_warmup_restored(struct machine *m)
{
    LIST_EACH(link, store_all(m->store, &directory_warming_site_type))
    {
        const struct site *s = LIST_ITEM(link, struct site, rec.link);
        struct warming *w = warming_get(m, address_of(s));
        if (w == NULL || s->step > w->set.days)
            return ERR_CORRUPT;
        w->sites += span_eq(name_of(s), SPAN_LIT(DIRECTORY_WARMUP_REST)) ? 0 : 1;
    }
    return 0;
}

/* ---- the rules ----------------------------------------------------------------------------------------- */

static bool is_warm(const struct warming *w, const struct site *s)
{
    return s->step >= w->set.days;
}

static uint32_t volume(const struct warming *w, uint32_t step)
{
    uint64_t v = w->set.first;
    for (uint32_t i = 0; i < step && v < WARMUP_VOLUME_MAX; i++) {
        uint64_t more = v * (w->set.growth_pct - 100) / 100;
        v += more > 0 ? more : 1;
    }
    return v < WARMUP_VOLUME_MAX ? (uint32_t)v : WARMUP_VOLUME_MAX;
}

static uint64_t day_end(const struct warming *w, uint64_t now_ms)
{
    if (now_ms < w->day_end_ms)
        return w->day_end_ms;
    return w->day_end_ms + ((now_ms - w->day_end_ms) / WARMUP_DAY_MS + 1) * WARMUP_DAY_MS;
}

static uint8_t judge(const struct warming *w, const struct site *s)
{
    const struct directory_warmup_counts *n = &s->today;
    uint64_t tried = (uint64_t)n->delivered + n->deferred + n->refused;
    /* One alone of a few messages is a large share, and says nothing. */
    bool deferred = n->deferred > 1 && (uint64_t)n->deferred * 1000 > tried * w->set.deferral_permille;
    bool complained = n->complaints > 1 &&
                      (uint64_t)n->complaints * 1000 > (uint64_t)n->delivered * w->set.complaint_permille;
    if (deferred || complained)
        return w->set.step_back ? DIRECTORY_WARMUP_BACK : DIRECTORY_WARMUP_REPEAT;
    return (uint64_t)n->delivered * 100 >= (uint64_t)volume(w, s->step) * w->set.fill_pct
               ? DIRECTORY_WARMUP_UP
               : DIRECTORY_WARMUP_REPEAT;
}

/* The day that the counts are of is over: what follows from it. Days without any mail change nothing more. */
static void roll(const struct warming *w, struct site *s, uint64_t now_ms)
{
    if (now_ms < s->until_ms)
        return;
    s->verdict = is_warm(w, s) ? DIRECTORY_WARMUP_REPEAT : judge(w, s);
    if (s->verdict == DIRECTORY_WARMUP_UP)
        s->step++;
    else if (s->verdict == DIRECTORY_WARMUP_BACK && s->step > 0)
        s->step--;
    s->before = s->today;
    s->today = (struct directory_warmup_counts){ 0 };
    s->reserved = s->held = 0;
    s->holder = 0;
    s->until_ms = day_end(w, now_ms);
}

/* ---- the operator's commands --------------------------------------------------------------------------- */

static bool too_early(const struct machine *m, struct machine_result *r)
{
    if (directory_features(m) >= WARMUP_FEATURE)
        return false;
    machine_refuse(r, ERR_DENIED,
                   "the cluster's feature level is %u, warm-up needs %d: see `turnpike cluster raise`",
                   directory_features(m), WARMUP_FEATURE);
    return true;
}

static int no_plan(struct machine_result *r, struct span address)
{
    return REFUSE(r, ERR_NOT_FOUND, "address %.*s has no warm-up plan", S(address));
}

static int stale_plan(struct machine_result *r, const struct warming *w)
{
    return REFUSE(r, ERR_BUSY,
                  "the plan of address %.*s was changed meanwhile: look at it again, then repeat",
                  S(w->address));
}

static int warming_new(struct machine *m, const struct machine_at *at, const struct command_warmup_start *c,
                       struct warming **out)
{
    struct warming *w = calloc(1, sizeof *w);
    if (w == NULL)
        return -ENOMEM;
    uint64_t into = c->by.wall_ms > 0 ? (uint64_t)c->by.wall_ms % WARMUP_DAY_MS : 0;
    w->plan = at->id;
    w->begun_ms = at->now_ms;
    w->day_end_ms = at->now_ms + WARMUP_DAY_MS - into;
    int err = directory_text_set(&w->address, c->address);
    if (err == 0)
        err = directory_add(m, &m->directory->warming, &w->rec);
    if (err != 0)
        warming_free(&w->rec);
    else
        *out = w;
    return err;
}

/* With fewer days, sites that had more steps have come to the end. */
static void clamp_steps(struct machine *m, const struct warming *w)
{
    struct directory_place at = directory_index_after(&m->directory->warming_sites, w->address);
    for (struct store_rec *rec; (rec = directory_index_next(&m->directory->warming_sites, &at)) != NULL;) {
        struct site *s = (struct site *)rec;
        if (!span_eq(address_of(s), w->address))
            return;
        if (s->step <= w->set.days)
            continue;
        store_touch(m->store, &s->rec);
        s->step = w->set.days;
    }
}

int directory_warmup_start(struct machine *m, const struct machine_at *at, const struct command *cmd,
                           struct machine_result *r)
{
    const struct command_warmup_start *c = &cmd->warmup_start;
    const struct directory_warmup_settings set = { .first = c->first,
                                                   .growth_pct = c->growth_pct,
                                                   .days = c->days,
                                                   .fill_pct = c->fill_pct,
                                                   .deferral_permille = c->deferral_permille,
                                                   .complaint_permille = c->complaint_permille,
                                                   .sites = c->sites,
                                                   .step_back = c->step_back };
    if (too_early(m, r))
        return 0;
    struct warming *w = warming_get(m, c->address);
    if (!directory_ip_exists(m, c->address))
        return REFUSE(r, ERR_NOT_FOUND, "there is no address %.*s", S(c->address));
    if (!settings_ok(&set) || !directory_text_ok(c->by.who))
        return REFUSE(
            r, ERR_BAD,
            "a plan begins with 1 to %u messages, grows to 101 to %u %% a day, has 1 to %u days and at "
            "most %u sites; shares are at most 100 %%",
            DIRECTORY_WARMUP_FIRST_MAX, DIRECTORY_WARMUP_GROWTH_MAX, DIRECTORY_WARMUP_DAYS_MAX,
            DIRECTORY_WARMUP_SITES_MAX);
    if (w != NULL && directory_stale(&c->by, w->version))
        return stale_plan(r, w);
    bool fresh = w == NULL;
    int err = fresh ? warming_new(m, at, c, &w) : 0;
    if (err != 0)
        return err;
    store_touch(m->store, &w->rec);
    err = directory_text_set(&w->who, c->by.who);
    if (err != 0)
        return err;
    w->wall_ms = c->by.wall_ms;
    w->set = set;
    w->version = at->id;
    clamp_steps(m, w);
    r->id = w->plan;
    machine_changed(m, MACHINE_CHANGED_POOLS, at->id, w->address);
    return directory_audit(
        m, at, &c->by, "address %.*s %s: %u messages a day to a site, then %u %% for %u days", S(c->address),
        fresh ? "warms up" : "warms up otherwise", c->first, c->growth_pct, c->days);
}

static void drop(struct machine *m, const struct machine_at *at, struct warming *w)
{
    struct directory_index *ix = &m->directory->warming_sites;
    for (;;) {
        struct directory_place place = directory_index_after(ix, w->address);
        struct site *s = (struct site *)directory_index_next(ix, &place);
        if (s == NULL || !span_eq(address_of(s), w->address))
            break;
        directory_drop(m, ix, &s->rec);
    }
    machine_changed(m, MACHINE_CHANGED_POOLS, at->id, w->address);
    directory_drop(m, &m->directory->warming, &w->rec);
}

void directory_warmup_gone(struct machine *m, const struct machine_at *at, struct span address)
{
    struct warming *w = warming_get(m, address);
    if (w != NULL)
        drop(m, at, w);
}

int directory_warmup_stop(struct machine *m, const struct machine_at *at, const struct command *cmd,
                          struct machine_result *r)
{
    const struct command_name *c = &cmd->name;
    if (too_early(m, r))
        return 0;
    struct warming *w = warming_get(m, c->name);
    if (w == NULL)
        return no_plan(r, c->name);
    if (directory_stale(&c->by, w->version))
        return stale_plan(r, w);
    drop(m, at, w);
    return directory_audit(m, at, &c->by, "address %.*s no longer warms up", S(c->name));
}

/* ---- a site's record ----------------------------------------------------------------------------------- */

static bool has_room(const struct machine *m, const struct warming *w)
{
    return w->sites < w->set.sites && m->directory->warming_sites.len < DIRECTORY_WARMING_SITES_MAX;
}

/* The site's record, or the one that it shares; a new one when there is room. -ENOMEM */
static int site_of(struct machine *m, struct warming *w, struct span name, uint64_t now_ms, struct site **out)
{
    struct span rest = SPAN_LIT(DIRECTORY_WARMUP_REST);
    *out = site_get(m, w->address, name);
    if (*out == NULL && !has_room(m, w)) {
        name = rest;
        *out = site_get(m, w->address, name);
    }
    if (*out != NULL)
        return 0;
    struct site *s = site_make(w->address, name);
    if (s == NULL)
        return -ENOMEM;
    s->until_ms = day_end(w, now_ms);
    int err = directory_add(m, &m->directory->warming_sites, &s->rec);
    if (err != 0) {
        free(s);
        return err;
    }
    w->sites += span_eq(name, rest) ? 0 : 1;
    *out = s;
    return 0;
}

int directory_warmup_step(struct machine *m, const struct machine_at *at, const struct command *cmd,
                          struct machine_result *r)
{
    const struct command_warmup_step *c = &cmd->warmup_step;
    if (too_early(m, r))
        return 0;
    struct warming *w = warming_get(m, c->address);
    if (w == NULL)
        return no_plan(r, c->address);
    if (directory_stale(&c->by, w->version))
        return stale_plan(r, w);
    if (!directory_name_ok(c->site))
        return REFUSE(r, ERR_BAD, "the site's name has blanks or control characters");
    if (c->step > w->set.days)
        return REFUSE(r, ERR_BAD, "the plan of address %.*s has %u steps", S(c->address), w->set.days);
    struct site *s = site_get(m, w->address, c->site);
    if (s == NULL && !span_eq(c->site, SPAN_LIT(DIRECTORY_WARMUP_REST)) && !has_room(m, w))
        return REFUSE(r, ERR_LIMIT, "address %.*s has %u sites with a plan of their own, which is the most",
                      S(c->address), w->sites);
    int err = site_of(m, w, c->site, at->now_ms, &s);
    if (err != 0)
        return err;
    store_touch(m->store, &s->rec);
    roll(w, s, at->now_ms);
    s->step = c->step;
    return directory_audit(m, at, &c->by, "address %.*s to %.*s: step %u of %u", S(c->address), S(c->site),
                           c->step, w->set.days);
}

/* ---- the nodes' commands ------------------------------------------------------------------------------- */

static uint32_t least(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

int directory_warmup_reserve(struct machine *m, const struct machine_at *at, const struct command *cmd,
                             struct machine_result *r)
{
    const struct command_warmup_reserve *c = &cmd->warmup_reserve;
    if (too_early(m, r))
        return 0;
    struct warming *w = warming_get(m, c->address);
    if (w == NULL)
        return no_plan(r, c->address);
    if (!directory_name_ok(c->site) || c->want == 0)
        return REFUSE(r, ERR_BAD, "the site's name has blanks or control characters, or nothing is wanted");
    if (!directory_ip_sends(m, c->address, directory_asker(m, cmd)))
        return REFUSE(r, ERR_DENIED, "address %.*s is not this node's to send from", S(c->address));
    struct site *s;
    int err = site_of(m, w, c->site, at->now_ms, &s);
    if (err != 0)
        return err;
    store_touch(m->store, &s->rec);
    roll(w, s, at->now_ms);
    uint64_t left_ms = s->until_ms - at->now_ms;
    r->id = w->plan;
    r->free_ms = s->until_ms;
    /* Nodes' clocks may be a little slow: a token is never spent after its day. */
    r->life_ms = least((uint32_t)(left_ms - left_ms / 50), WARMUP_LIFE_MAX_MS);
    if (is_warm(w, s)) {
        r->count = COMMAND_WARMUP_UNLIMITED;
        return 0;
    }
    uint32_t all = volume(w, s->step);
    r->limit_count = all;
    if (s->reserved >= all)
        return REFUSE(r, ERR_LIMIT, "address %.*s has sent its %u messages of today to %.*s", S(c->address),
                      all, S(name_of(s)));
    if (s->holder != cmd->origin.session) { /* what another one has is not given back any more */
        s->holder = cmd->origin.session;
        s->held = 0;
    }
    r->count = least(least(c->want, all - s->reserved), all / WARMUP_BATCHES + 1);
    s->reserved += r->count;
    s->held += r->count;
    ensure(s->reserved <= all);
    ensure(s->held <= s->reserved);
    return 0;
}

static void count(uint32_t *n, uint32_t more)
{
    *n = more > UINT32_MAX - *n ? UINT32_MAX : *n + more;
}

int directory_warmup_report(struct machine *m, const struct machine_at *at, const struct command *cmd,
                            struct machine_result *r)
{
    const struct command_warmup_report *c = &cmd->warmup_report;
    if (too_early(m, r))
        return 0;
    struct warming *w = warming_get(m, c->address);
    if (w == NULL)
        return no_plan(r, c->address);
    struct site *s = site_get(m, w->address, c->site);
    if (s == NULL)
        s = site_get(m, w->address, SPAN_LIT(DIRECTORY_WARMUP_REST));
    if (s == NULL)
        return REFUSE(r, ERR_NOT_FOUND, "address %.*s has no plan for %.*s", S(c->address), S(c->site));
    store_touch(m->store, &s->rec);
    roll(w, s, at->now_ms);
    if (s->holder == cmd->origin.session && c->plan == w->plan && c->until_ms == s->until_ms) {
        uint64_t sent = (uint64_t)c->delivered + c->deferred + c->refused;
        s->held -= sent < s->held ? (uint32_t)sent : s->held;
        r->count = least(c->unspent, s->held);
        s->held -= r->count;
        s->reserved -= r->count;
    }
    count(&s->today.delivered, c->delivered);
    count(&s->today.deferred, c->deferred);
    count(&s->today.refused, c->refused);
    count(&s->today.complaints, c->complaints);
    return 0;
}

/* ---- readers ------------------------------------------------------------------------------------------- */

static struct directory_warming view(const struct warming *w)
{
    return (struct directory_warming){ .address = w->address,
                                       .who = w->who,
                                       .wall_ms = w->wall_ms,
                                       .begun_ms = w->begun_ms,
                                       .plan = w->plan,
                                       .version = w->version,
                                       .sites = w->sites,
                                       .set = w->set };
}

bool directory_warming_find(const struct machine *m, struct span address, struct directory_warming *out)
{
    const struct warming *w = address.n > COMMAND_NAME_MAX ? NULL : warming_get(m, address);
    if (w != NULL)
        *out = view(w);
    return w != NULL;
}

int directory_warming_each(const struct machine *m, directory_warming_fn *fn, void *arg)
{
    struct directory_place at = { 0 };
    int stop = 0;
    for (const struct store_rec *rec;
         stop == 0 && (rec = directory_index_next(&m->directory->warming, &at)) != NULL;) {
        struct directory_warming v = view((const struct warming *)rec);
        stop = fn(arg, &v);
    }
    return stop;
}

int directory_warming_site_each(const struct machine *m, struct span address, directory_warming_site_fn *fn,
                                void *arg)
{
    const struct warming *w = address.n > COMMAND_NAME_MAX ? NULL : warming_get(m, address);
    struct directory_place at = directory_index_after(&m->directory->warming_sites, address);
    int stop = 0;
    for (const struct store_rec *rec;
         stop == 0 && w != NULL && (rec = directory_index_next(&m->directory->warming_sites, &at)) != NULL;) {
        const struct site *s = (const struct site *)rec;
        if (!span_eq(address_of(s), address))
            break;
        struct site now = *s; /* as the next command would find it */
        roll(w, &now, m->now_ms);
        bool warm = is_warm(w, &now);
        stop = fn(arg, &(struct directory_warming_site){ .address = address_of(s),
                                                         .site = name_of(s),
                                                         .step = now.step,
                                                         .warm = warm,
                                                         .volume = warm ? 0 : volume(w, now.step),
                                                         .reserved = now.reserved,
                                                         .held = now.held,
                                                         .until_ms = now.until_ms,
                                                         .today = now.today,
                                                         .before = now.before,
                                                         .verdict = now.verdict });
    }
    return stop;
}
