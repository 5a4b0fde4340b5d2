/* The frozen list: senders and tenants by name, each with its mode and perhaps an end. A freeze's id is that
 * of its command; a timer and a careful operator name it, so that a later freeze of the same name stays.
 */
#include "consensus/freeze.h"

#include "base/ensure.h"
#include "base/err.h"
#include "base/heap.h"
#include "consensus/directory_impl.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define DUE_MAX 64 /* thaws proposed at a time */
#define TIMER "timer" /* whose thaws these are */
#define FOR_MAX_MS (UINT64_C(366) * 86400000 * 100)

struct freeze {
    struct store_rec rec;
    struct heap_node timer; /* derived; of those with an end */
    uint64_t id, since_ms, until_ms;
    int64_t wall_ms;
    uint8_t mode;
    uint32_t nkey, nreason, nwho;
    char text[]; /* the key (scope, name), reason, who */
};

struct freezes {
    struct heap timers;      /* by until_ms */
    struct freeze **by_name; /* in order of name, then scope */
    uint32_t n, cap;
    uint64_t bytes; /* memory of them all */
};

static inline struct freeze *freeze_of(const struct store_rec *rec)
{
    return (struct freeze *)rec;
}

static inline struct span key_of(const struct freeze *f)
{
    return span_of(f->text, f->nkey);
}

static inline struct span name_of(const struct freeze *f)
{
    return span_sub(key_of(f), 1);
}

static inline uint8_t scope_of(const struct freeze *f)
{
    return (uint8_t)f->text[0];
}

/* ---- the record ------------------------------------------------------------------------------------------
 */

static struct freeze *make(uint8_t scope, struct span name, struct span reason, struct span who)
{
    struct freeze *f = calloc(1, sizeof *f + 1 + name.n + reason.n + who.n);
    if (f == NULL)
        return NULL;
    f->nkey = (uint32_t)(name.n + 1);
    f->nreason = (uint32_t)reason.n;
    f->nwho = (uint32_t)who.n;
    f->text[0] = (char)scope;
    memcpy(f->text + 1, name.p, name.n);
    memcpy(f->text + f->nkey, reason.p, reason.n);
    memcpy(f->text + f->nkey + f->nreason, who.p, who.n);
    return f;
}

static struct span freeze_key(const struct store_rec *rec, char scratch[STORE_KEY_MAX])
{
    (void)scratch;
    return key_of(freeze_of(rec));
}

static void freeze_encode(const struct store_rec *rec, struct buf *out)
{
    const struct freeze *f = freeze_of(rec);
    buf_put_u8(out, scope_of(f));
    buf_put_counted(out, name_of(f));
    buf_put_counted(out, span_of(f->text + f->nkey, f->nreason));
    buf_put_counted(out, span_of(f->text + f->nkey + f->nreason, f->nwho));
    buf_put_u8(out, f->mode);
    buf_put_u64(out, f->id);
    buf_put_u64(out, (uint64_t)f->wall_ms);
    buf_put_u64(out, f->since_ms);
    buf_put_u64(out, f->until_ms);
}

static uint64_t bytes_of(const struct freeze *f)
{
    return sizeof *f + f->nkey + f->nreason + f->nwho;
}

static bool scope_exists(uint8_t scope)
{
    return scope == COMMAND_SCOPE_ACCOUNT || scope == COMMAND_SCOPE_TENANT;
}

static bool mode_exists(uint8_t mode)
{
    return mode >= COMMAND_FREEZE_REJECT && mode <= COMMAND_FREEZE_AUTO;
}

static int freeze_decode(struct cursor *c, struct store_rec **out)
{
    uint8_t scope = cursor_u8(c);
    struct span name = cursor_counted(c), reason = cursor_counted(c), who = cursor_counted(c);
    uint8_t mode = cursor_u8(c);
    uint64_t id = cursor_u64(c), wall = cursor_u64(c), since = cursor_u64(c), until = cursor_u64(c);
    if (cursor_err(c) != 0)
        return cursor_err(c);
    if (!scope_exists(scope) || !mode_exists(mode) || name.n == 0 || name.n > COMMAND_NAME_MAX ||
        reason.n > COMMAND_TEXT_MAX || who.n > COMMAND_TEXT_MAX || until > INT64_MAX)
        return ERR_CORRUPT;
    struct freeze *f = make(scope, name, reason, who);
    if (f == NULL)
        return -ENOMEM;
    f->mode = mode;
    f->id = id;
    f->wall_ms = (int64_t)wall;
    f->since_ms = since;
    f->until_ms = until;
    *out = &f->rec;
    return 0;
}

static void freeze_free(struct store_rec *rec)
{
    free(freeze_of(rec));
}

static const struct store_type freeze_type = {
    .id = 16,
    .name = "freeze",
    .key = freeze_key,
    .encode = freeze_encode,
    .decode = freeze_decode,
    .free = freeze_free,
};
const struct store_type *const freeze_types[] = { &freeze_type };
const uint32_t freeze_ntypes = 1;

/* ---- derived: the order of names, the timers --------------------------------------------------------------
 */

struct freezes *freezes_new(void)
{
    struct freezes *fs = calloc(1, sizeof *fs);
    if (fs != NULL)
        heap_init(&fs->timers);
    return fs;
}

void freezes_free(struct freezes *fs)
{
    if (fs == NULL)
        return;
    heap_fini(&fs->timers);
    free(fs->by_name);
    free(fs);
}

static int compare(struct span name_a, uint8_t scope_a, const struct freeze *b)
{
    struct span name_b = name_of(b);
    size_t n = name_a.n < name_b.n ? name_a.n : name_b.n;
    int order = n == 0 ? 0 : memcmp(name_a.p, name_b.p, n);
    if (order == 0)
        order = (name_a.n > name_b.n) - (name_a.n < name_b.n);
    return order != 0 ? order : (int)scope_a - (int)scope_of(b);
}

static int compare_items(const void *a, const void *b)
{
    const struct freeze *x = *(struct freeze *const *)a;
    return compare(name_of(x), scope_of(x), *(struct freeze *const *)b);
}

/* Where it is, or belongs. */
static uint32_t place_of(const struct freezes *fs, struct span name, uint8_t scope)
{
    uint32_t lo = 0, hi = fs->n;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (compare(name, scope, fs->by_name[mid]) > 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static int make_room(struct freezes *fs, uint64_t n)
{
    if (n <= fs->cap)
        return 0;
    uint64_t cap = fs->cap == 0 ? 16 : (uint64_t)fs->cap * 2;
    if (cap < n)
        cap = n;
    struct freeze **by_name = realloc(fs->by_name, cap * sizeof(struct freeze *));
    if (by_name == NULL)
        return -ENOMEM;
    fs->by_name = by_name;
    fs->cap = (uint32_t)cap;
    return 0;
}

static int timer_start(struct freezes *fs, struct freeze *f)
{
    return f->until_ms == 0 ? 0 : heap_add(&fs->timers, &f->timer, (int64_t)f->until_ms);
}

int freeze_restored(struct machine *m)
{
    struct freezes *fs = m->freezes;
    fs->timers.len = 0;
    fs->n = 0;
    fs->bytes = 0;
    int err = make_room(fs, store_len(m->store, &freeze_type));
    if (err != 0)
        return err;
    LIST_EACH(link, store_all(m->store, &freeze_type))
    {
        struct freeze *f = freeze_of(LIST_ITEM(link, struct store_rec, link));
        fs->by_name[fs->n++] = f;
        fs->bytes += bytes_of(f);
        err = timer_start(fs, f);
        if (err != 0)
            return err;
    }
    if (fs->n > 1)
        qsort(fs->by_name, fs->n, sizeof(struct freeze *), compare_items);
    return 0;
}

static int add(struct machine *m, struct freeze *f)
{
    struct freezes *fs = m->freezes;
    int err = make_room(fs, (uint64_t)fs->n + 1);
    if (err == 0)
        err = store_add(m->store, &freeze_type, &f->rec);
    if (err != 0) {
        free(f);
        return err;
    }
    uint32_t at = place_of(fs, name_of(f), scope_of(f));
    memmove(fs->by_name + at + 1, fs->by_name + at, (fs->n - at) * sizeof(struct freeze *));
    fs->by_name[at] = f;
    fs->n++;
    fs->bytes += bytes_of(f);
    return timer_start(fs, f);
}

static void drop(struct machine *m, struct freeze *f)
{
    struct freezes *fs = m->freezes;
    uint32_t at = place_of(fs, name_of(f), scope_of(f));
    ensure(at < fs->n);
    ensure(fs->by_name[at] == f);
    fs->n--;
    fs->bytes -= bytes_of(f);
    memmove(fs->by_name + at, fs->by_name + at + 1, (fs->n - at) * sizeof(struct freeze *));
    heap_remove(&fs->timers, &f->timer);
    store_remove(m->store, &f->rec);
}

static struct freeze *find(const struct machine *m, uint8_t scope, struct span name)
{
    char key[1 + COMMAND_NAME_MAX];
    if (name.n > COMMAND_NAME_MAX || name.n == 0)
        return NULL;
    key[0] = (char)scope;
    memcpy(key + 1, name.p, name.n);
    return freeze_of(store_find(m->store, &freeze_type, span_of(key, name.n + 1)));
}

/* ---- commands --------------------------------------------------------------------------------------------
 */

static const char *scope_name(uint8_t scope)
{
    return scope == COMMAND_SCOPE_TENANT ? "tenant" : "account";
}

static const char *mode_name(uint8_t mode)
{
    static const char *const names[] = { [COMMAND_FREEZE_REJECT] = "reject",
                                         [COMMAND_FREEZE_DEFER] = "defer",
                                         [COMMAND_FREEZE_HOLD] = "hold",
                                         [COMMAND_FREEZE_AUTO] = "auto" };
    ensure(mode_exists(mode));
    return names[mode];
}

int freeze_sender(struct machine *m, const struct machine_at *at, const struct command_freeze *c,
                  struct machine_result *r)
{
    struct freeze *old = find(m, c->scope, c->name);
    if (c->by.version != 0 && (old == NULL || old->id != c->by.version)) {
        machine_refuse(r, ERR_BUSY, "%s is %s since you looked", scope_name(c->scope),
                       old == NULL ? "thawed" : "frozen again");
        return 0;
    }
    if (old == NULL && m->freezes->n >= m->config.max_frozen) {
        machine_refuse(r, ERR_LIMIT, "%llu senders are frozen already",
                       (unsigned long long)m->config.max_frozen);
        return 0;
    }
    struct freeze *f = make(c->scope, c->name, c->reason, c->by.who);
    if (f == NULL)
        return -ENOMEM;
    f->mode = c->mode;
    f->id = at->id;
    f->wall_ms = c->by.wall_ms;
    f->since_ms = at->now_ms;
    uint64_t for_ms = c->for_ms < FOR_MAX_MS ? c->for_ms : FOR_MAX_MS;
    f->until_ms = for_ms == 0 ? 0 : at->now_ms + for_ms;
    if (old != NULL)
        drop(m, old);
    int err = add(m, f);
    if (err != 0)
        return err;
    r->id = at->id;
    machine_changed(m, MACHINE_CHANGED_FROZEN, at->id, c->name);
    char until[48] = "";
    if (for_ms != 0)
        snprintf(until, sizeof until, " for %llus", (unsigned long long)(for_ms / 1000));
    return directory_audit(m, at, &c->by, "freeze %s %.*s %s%s%s%.*s", scope_name(c->scope), (int)c->name.n,
                           c->name.p, mode_name(c->mode), until, c->reason.n == 0 ? "" : ": ",
                           (int)c->reason.n, c->reason.p);
}

/* "reject for 3600s, by root@relay1: why", or "by root@relay1". */
static int tell(struct machine *m, const struct machine_at *at, const struct command_by *by, uint8_t scope,
                struct span name, const struct command_freeze *c)
{
    struct buf text;
    buf_init(&text, 2 * COMMAND_TEXT_MAX + 100);
    if (c != NULL)
        (void)buf_put_str(&text, mode_name(c->mode));
    if (c != NULL && c->for_ms != 0)
        (void)buf_printf(&text, " for %llus", (unsigned long long)(c->for_ms / 1000));
    (void)buf_printf(&text, "%sby %.*s", c != NULL ? ", " : "", (int)by->who.n, by->who.p);
    if (c != NULL && c->reason.n > 0)
        (void)buf_printf(&text, ": %.*s", (int)c->reason.n, c->reason.p);
    int err = buf_err(&text);
    if (err == 0)
        err = directory_alert_operator(m, at, by, scope, name, c != NULL, buf_span(&text));
    buf_fini(&text);
    return err;
}

static int on_freeze(struct machine *m, const struct machine_at *at, const struct command_freeze *c,
                     struct machine_result *r)
{
    int err = freeze_sender(m, at, c, r);
    return err != 0 || r->err != 0 ? err : tell(m, at, &c->by, c->scope, c->name, c);
}

static int on_thaw(struct machine *m, const struct machine_at *at, const struct command_thaw *c,
                   struct machine_result *r)
{
    struct freeze *f = find(m, c->scope, c->name);
    if (f == NULL) {
        machine_refuse(r, ERR_NOT_FOUND, "%s is not frozen", scope_name(c->scope));
        return 0;
    }
    if ((c->freeze != 0 && c->freeze != f->id) || (c->by.version != 0 && c->by.version != f->id)) {
        machine_refuse(r, ERR_BUSY, "%s was frozen again since", scope_name(c->scope));
        return 0;
    }
    r->id = f->id;
    drop(m, f);
    machine_changed(m, MACHINE_CHANGED_FROZEN, r->id, c->name);
    int err = directory_audit(m, at, &c->by, "thaw %s %.*s", scope_name(c->scope), (int)c->name.n, c->name.p);
    return err != 0 || span_eq(c->by.who, SPAN_LIT(TIMER)) ? err : tell(m, at, &c->by, c->scope, c->name, NULL);
}

int freeze_apply(struct machine *m, const struct machine_at *at, const struct command *cmd,
                 struct machine_result *r)
{
    if (cmd->type == COMMAND_FREEZE)
        return on_freeze(m, at, &cmd->freeze, r);
    return on_thaw(m, at, &cmd->thaw, r);
}

int freeze_due(struct machine *m, uint64_t now_ms, struct buf *out, uint32_t *n)
{
    struct freezes *fs = m->freezes;
    struct freeze *due[DUE_MAX];
    uint32_t k = 0;
    int err = 0;
    /* Taken out and put back: what is proposed may be lost, and is proposed again then. */
    for (struct heap_node *t;
         k < DUE_MAX && (t = heap_first(&fs->timers)) != NULL && t->key <= (int64_t)now_ms;) {
        heap_remove(&fs->timers, t);
        due[k++] = HEAP_ITEM(t, struct freeze, timer);
    }
    for (uint32_t i = 0; i < k; i++) {
        struct freeze *f = due[i];
        struct command cmd = { .type = COMMAND_THAW };
        cmd.thaw = (struct command_thaw){
            .by.who = SPAN_LIT(TIMER), .scope = scope_of(f), .name = name_of(f), .freeze = f->id
        };
        if (err == 0 && (err = command_encode(&cmd, out)) == 0)
            ++*n;
        ensure(timer_start(fs, f) == 0); /* it was there a moment ago: the heap has room */
    }
    return err;
}

/* ---- reading ---------------------------------------------------------------------------------------------
 */

bool freeze_refuses(const struct machine *m, struct span account, struct span tenant, uint8_t *scope)
{
    if (m->freezes->n == 0)
        return false;
    const struct freeze *f = find(m, *scope = COMMAND_SCOPE_ACCOUNT, account);
    if (f != NULL && f->mode != COMMAND_FREEZE_HOLD)
        return true;
    f = find(m, *scope = COMMAND_SCOPE_TENANT, tenant);
    return f != NULL && f->mode != COMMAND_FREEZE_HOLD;
}

static struct machine_frozen row(const struct freeze *f)
{
    return (struct machine_frozen){
        .id = f->id,
        .scope = scope_of(f),
        .mode = f->mode,
        .name = name_of(f),
        .reason = span_of(f->text + f->nkey, f->nreason),
        .who = span_of(f->text + f->nkey + f->nreason, f->nwho),
        .wall_ms = f->wall_ms,
        .since_ms = f->since_ms,
        .until_ms = f->until_ms,
    };
}

int machine_frozen_each(const struct machine *m, machine_frozen_fn *fn, void *arg)
{
    for (uint32_t i = 0; i < m->freezes->n; i++) {
        struct machine_frozen f = row(m->freezes->by_name[i]);
        int stop = fn(arg, &f);
        if (stop != 0)
            return stop;
    }
    return 0;
}

bool machine_frozen_find(const struct machine *m, uint8_t scope, struct span name, struct machine_frozen *out)
{
    const struct freeze *f = find(m, scope, name);
    if (f != NULL)
        *out = row(f);
    return f != NULL;
}

void freeze_totals(const struct machine *m, struct machine_totals *out)
{
    out->frozen = m->freezes->n;
    out->bytes += m->freezes->bytes;
}
