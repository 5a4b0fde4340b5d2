/* Floating addresses and the operator's hook: see addresses.h. */
#include "node/core/addresses.h"

#include "base/ensure.h"
#include "base/err.h"
#include "base/map.h"
#include "consensus/command.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define AGAIN_MIN_MS 1000
#define AGAIN_MAX_MS 60000
#define MISSING_MS 10000 /* between two adds of one that is missing */

enum where { OFF, MAYBE, ON };

struct entry {
    struct ip_addr addr;
    char pool[COMMAND_NAME_MAX + 1], next[COMMAND_NAME_MAX + 1];
    enum where on;
    uint64_t claim, on_claim, on_session; /* of the cluster; under which it was added */
    bool ours, leaving, giving;           /* giving: leaving, and nothing goes out from it any more */
    bool seen, left, bound; /* left: by an earlier process; bound: it floats no more, and stays */
    bool wanted;            /* when it was looked at last */
    bool running, adding;
    bool tried, missing; /* tried: since it is not wanted, a remove has ended */
    uint32_t failures;
    int64_t again_ms, missing_ms;
    uint64_t told_claim;
    uint8_t state, told; /* enum command_hook_state; 0: nothing */
    char words[ADDRESSES_WORDS_MAX + 1];
};

struct addresses {
    struct map entries;
    uint64_t session;
    bool stopping, changed;
};

static uint64_t entry_hash(const void *item)
{
    return ip_addr_hash(&((const struct entry *)item)->addr);
}

static bool entry_match(const void *item, const void *key)
{
    return ip_addr_eq(&((const struct entry *)item)->addr, key);
}

struct addresses *addresses_new(void)
{
    struct addresses *a = calloc(1, sizeof *a);
    if (a != NULL)
        map_init(&a->entries, entry_hash, entry_match);
    return a;
}

void addresses_free(struct addresses *a)
{
    if (a == NULL)
        return;
    size_t at = 0;
    for (void *e; (e = map_next(&a->entries, &at)) != NULL;)
        free(e);
    map_fini(&a->entries);
    free(a);
}

static struct entry *find(const struct addresses *a, const struct ip_addr *addr)
{
    return map_find(&a->entries, ip_addr_hash(addr), addr);
}

static int find_or_add(struct addresses *a, const struct ip_addr *addr, struct entry **out)
{
    *out = find(a, addr);
    if (*out != NULL)
        return 0;
    if (a->entries.len >= ADDRESSES_MAX)
        return ERR_LIMIT;
    struct entry *e = calloc(1, sizeof *e);
    if (e == NULL)
        return -ENOMEM;
    e->addr = *addr;
    int err = map_add(&a->entries, entry_hash(e), e);
    if (err != 0)
        free(e);
    else
        *out = e;
    return err;
}

static void drop(struct addresses *a, struct entry *e)
{
    ensure(map_remove(&a->entries, entry_hash(e), e));
    free(e);
}

static void set_text(char *to, size_t cap, struct span from)
{
    snprintf(to, cap, "%.*s", (int)from.n, from.n == 0 ? "" : from.p);
}

static bool is_ready(const struct addresses *a, const struct entry *e)
{
    return e->on == ON && e->ours && !e->giving && e->on_claim == e->claim && e->on_session == a->session &&
           a->session != 0;
}

static bool is_wanted(const struct addresses *a, const struct entry *e)
{
    return a->session != 0 && !a->stopping && e->ours && !e->giving;
}

/* After something that it depends on: what failed before was another matter. */
static void look(struct addresses *a, struct entry *e)
{
    if (e->on == ON && (e->on_claim != e->claim || e->on_session != a->session) && e->ours)
        e->on = MAYBE;
    bool wanted = is_wanted(a, e);
    if (wanted == e->wanted)
        return;
    e->wanted = wanted;
    e->tried = false;
    e->failures = 0;
    e->again_ms = 0;
}

/* ---- what the cluster says ----------------------------------------------------------------------------- */

void addresses_begin(struct addresses *a)
{
    size_t at = 0;
    for (struct entry *e; (e = map_next(&a->entries, &at)) != NULL;)
        e->seen = false;
}

int addresses_see(struct addresses *a, const struct addresses_told *told)
{
    struct entry *e = find(a, &told->addr);
    if (e == NULL && !told->ours)
        return 0;
    int err = find_or_add(a, &told->addr, &e);
    if (err != 0)
        return err;
    bool was = is_ready(a, e);
    e->seen = true;
    e->bound = false;
    e->claim = told->claim;
    e->ours = told->ours;
    e->leaving = told->ours && told->next != NULL;
    e->giving = e->giving && e->leaving;
    if (told->ours || e->pool[0] == '\0')
        set_text(e->pool, sizeof e->pool, told->pool);
    set_text(e->next, sizeof e->next, span_str(told->next == NULL ? "" : told->next));
    look(a, e);
    a->changed = a->changed || was != is_ready(a, e);
    return 0;
}

void addresses_end(struct addresses *a)
{
    size_t at = 0;
    for (struct entry *e; (e = map_next(&a->entries, &at)) != NULL;) {
        if (e->seen || !e->ours)
            continue;
        e->ours = e->leaving = e->giving = false;
        e->bound = true; /* to this machine; one that was removed from the cluster was taken off before */
        if (!e->running)
            e->on = OFF;
        look(a, e);
    }
}

void addresses_session(struct addresses *a, uint64_t session)
{
    if (a->session == session)
        return;
    a->session = session;
    a->changed = true;
    size_t at = 0;
    for (struct entry *e; (e = map_next(&a->entries, &at)) != NULL;)
        look(a, e);
}

void addresses_stopping(struct addresses *a)
{
    size_t at = 0;
    a->stopping = true;
    for (struct entry *e; (e = map_next(&a->entries, &at)) != NULL;)
        look(a, e);
}

bool addresses_ready(const struct addresses *a, const struct ip_addr *addr)
{
    const struct entry *e = find(a, addr);
    return e != NULL && is_ready(a, e);
}

bool addresses_give_up(struct addresses *a, const struct ip_addr *addr)
{
    struct entry *e = find(a, addr);
    if (e == NULL || !e->ours || !e->leaving)
        return true;
    if (!e->giving) {
        e->giving = true;
        look(a, e);
    }
    return !e->running && (e->on == OFF || e->tried);
}

void addresses_missing(struct addresses *a, const struct ip_addr *addr, int64_t now_ms)
{
    struct entry *e = find(a, addr);
    if (e == NULL || !is_ready(a, e) || now_ms < e->missing_ms)
        return;
    e->on = MAYBE;
    e->missing = true;
    e->missing_ms = now_ms + MISSING_MS;
    a->changed = true;
}

bool addresses_idle(const struct addresses *a)
{
    size_t at = 0;
    for (struct entry *e; (e = map_next(&a->entries, &at)) != NULL;)
        if (e->running || (!is_wanted(a, e) && e->on != OFF && !e->tried))
            return false;
    return true;
}

bool addresses_changed(struct addresses *a)
{
    bool changed = a->changed;
    a->changed = false;
    return changed;
}

/* ---- what is to be done -------------------------------------------------------------------------------- */

static void say_why(const struct addresses *a, struct entry *e, struct addresses_job *job)
{
    char *out = job->reason;
    size_t cap = sizeof job->reason;
    if (job->add)
        snprintf(out, cap, "%s", e->missing ? "it is missing on this machine" : "it is this node's");
    else if (a->stopping)
        snprintf(out, cap, "the node is stopping");
    else if (e->left)
        snprintf(out, cap, "left by the process before this one");
    else if (e->giving)
        snprintf(out, cap, "%s%.64s", e->next[0] == '\0' ? "it is being removed" : "it goes to ", e->next);
    else if (e->ours)
        snprintf(out, cap, "the session has ended");
    else
        snprintf(out, cap, "it is no longer this node's");
}

/* What this node has nothing to do with any more. */
static bool forget_one(struct addresses *a)
{
    size_t at = 0;
    for (struct entry *e; (e = map_next(&a->entries, &at)) != NULL;)
        if (e->on == OFF && !e->ours && !e->running) {
            drop(a, e);
            return true;
        }
    return false;
}

bool addresses_next(struct addresses *a, int64_t now_ms, struct addresses_job *job)
{
    size_t at = 0;
    while (forget_one(a))
        ;
    for (struct entry *e; (e = map_next(&a->entries, &at)) != NULL;) {
        bool wanted = is_wanted(a, e);
        if (e->running || now_ms < e->again_ms || (wanted ? e->leaving || e->on == ON : e->on == OFF))
            continue;
        *job = (struct addresses_job){ .addr = e->addr, .pool = span_str(e->pool), .add = wanted };
        say_why(a, e, job);
        e->running = true;
        e->adding = wanted;
        e->on = MAYBE;
        e->missing = false;
        if (wanted) {
            e->on_claim = e->claim;
            e->on_session = a->session;
            if (e->told_claim != e->claim || e->told == 0)
                e->state = COMMAND_HOOK_ADDING;
        }
        return true;
    }
    return false;
}

static int64_t backoff_ms(uint32_t failures)
{
    int64_t ms = AGAIN_MIN_MS;
    for (uint32_t i = 1; i < failures && ms < AGAIN_MAX_MS; i++)
        ms *= 2;
    return ms < AGAIN_MAX_MS ? ms : AGAIN_MAX_MS;
}

/* Of what a program prints, what may stand in a log and in a table. */
static void keep_words(char out[ADDRESSES_WORDS_MAX + 1], struct span words)
{
    size_t n = 0;
    for (size_t i = 0; i < words.n && n < ADDRESSES_WORDS_MAX; i++)
        out[n++] = words.p[i] >= ' ' && words.p[i] <= '~' ? words.p[i] : '?';
    out[n] = '\0';
}

void addresses_ended(struct addresses *a, const struct ip_addr *addr, bool ok, struct span words,
                     int64_t now_ms)
{
    struct entry *e = find(a, addr);
    ensure(e != NULL);
    ensure(e->running);
    e->running = false;
    if (ok) {
        e->on = e->adding ? ON : OFF;
        e->failures = 0;
        e->again_ms = 0;
        e->left = false;
    } else {
        e->failures++;
        e->again_ms = now_ms + backoff_ms(e->failures);
    }
    if (e->adding) {
        e->state = ok ? COMMAND_HOOK_DONE : COMMAND_HOOK_FAILED;
        keep_words(e->words, ok ? span_of("", 0) : words);
        a->changed = a->changed || ok;
    }
    if (e->adding == is_wanted(a, e)) {
        e->tried = e->tried || !e->adding;
    } else { /* it is not wanted the way it was any more: at once, then */
        e->failures = 0;
        e->again_ms = 0;
    }
    if (e->bound)
        e->on = OFF;
    look(a, e);
}

/* ---- what the cluster is told -------------------------------------------------------------------------- */

bool addresses_report(struct addresses *a, struct addresses_report *out)
{
    size_t at = 0;
    for (struct entry *e; (e = map_next(&a->entries, &at)) != NULL;) {
        bool news = e->state != 0 && (e->told != e->state || e->told_claim != e->claim);
        if (!news || !is_wanted(a, e) || e->on_claim != e->claim)
            continue;
        e->told = e->state;
        e->told_claim = e->claim;
        *out = (struct addresses_report){ e->addr, e->claim, e->state, span_str(e->words) };
        return true;
    }
    return false;
}

void addresses_untold(struct addresses *a, const struct ip_addr *addr)
{
    struct entry *e = find(a, addr);
    if (e != NULL)
        e->told = 0;
}

/* ---- over a restart ------------------------------------------------------------------------------------ */

int addresses_save(const struct addresses *a, struct buf *out)
{
    size_t at = 0;
    char text[IP_TEXT_MAX];
    for (struct entry *e; (e = map_next(&a->entries, &at)) != NULL;)
        if (e->on != OFF)
            buf_printf(out, "%s %s\n", ip_addr_format(&e->addr, text), e->pool);
    return buf_err(out);
}

int addresses_load(struct addresses *a, struct span text)
{
    while (text.n > 0) {
        const char *end = memchr(text.p, '\n', text.n);
        struct span line = span_of(text.p, end == NULL ? text.n : (size_t)(end - text.p));
        const char *blank = line.n == 0 ? NULL : memchr(line.p, ' ', line.n);
        size_t n = blank == NULL ? line.n : (size_t)(blank - line.p);
        struct ip_addr addr;
        struct entry *e;
        text = span_sub(text, end == NULL ? text.n : line.n + 1);
        if (ip_addr_parse(span_of(line.p, n), &addr) != 0)
            continue;
        int err = find_or_add(a, &addr, &e);
        if (err == ERR_LIMIT)
            return 0;
        if (err != 0)
            return err;
        e->on = MAYBE;
        e->left = true;
        set_text(e->pool, sizeof e->pool, span_sub(line, n == line.n ? n : n + 1));
    }
    return 0;
}
