/* Who follows which sessions. Listeners change under a write lock, lines are given under the read lock, so
 * that a listener that has been ended gets no more. */
#include "node/telemetry/trace.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/text.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINE_MAX_BYTES 2048

struct trace_listener {
    bool used;
    bool client;
    int family; /* 0: any address */
    uint8_t net[16];
    uint32_t net_bits;
    char *account, *site, *listener; /* NULL: any */
    unsigned born;                   /* epoch */
    uint32_t sessions_max;
    atomic_uint sessions;
    atomic_bool deaf; /* said that nobody reads any more */
    trace_put_fn *put;
    trace_gone_fn *gone;
    void *ctx;
};

struct trace {
    pthread_rwlock_t lock;
    atomic_uint listeners; /* how many; read without the lock */
    atomic_uint epoch;     /* grows with every change */
    struct trace_listener slot[TRACE_LISTENERS_MAX];
};

struct trace *trace_new(void)
{
    struct trace *t = calloc(1, sizeof *t);
    if (t == NULL)
        return NULL;
    if (pthread_rwlock_init(&t->lock, NULL) != 0) {
        free(t);
        return NULL;
    }
    return t;
}

static void listener_clear(struct trace_listener *l)
{
    free(l->account);
    free(l->site);
    free(l->listener);
    l->account = l->site = l->listener = NULL;
    l->used = false;
}

void trace_free(struct trace *t)
{
    if (t == NULL)
        return;
    for (uint32_t i = 0; i < TRACE_LISTENERS_MAX; i++)
        if (t->slot[i].used)
            trace_unlisten(t, t->slot[i].ctx);
    pthread_rwlock_destroy(&t->lock);
    free(t);
}

static int parse_net(struct trace_listener *l, const char *text)
{
    char address[64];
    const char *slash = strchr(text, '/');
    size_t n = slash == NULL ? strlen(text) : (size_t)(slash - text);
    if (n >= sizeof address)
        return ERR_BAD;
    memcpy(address, text, n);
    address[n] = '\0';
    if (inet_pton(AF_INET, address, l->net) == 1)
        l->family = AF_INET;
    else if (inet_pton(AF_INET6, address, l->net) == 1)
        l->family = AF_INET6;
    else
        return ERR_BAD;
    uint32_t width = l->family == AF_INET ? 32 : 128;
    uint64_t bits = width;
    if (slash != NULL && text_u64(span_str(slash + 1), &bits) != 0)
        return ERR_BAD;
    if (bits > width)
        return ERR_BAD;
    l->net_bits = (uint32_t)bits;
    return 0;
}

static int copy_text(char **to, const char *from)
{
    *to = from == NULL ? NULL : strdup(from);
    return from != NULL && *to == NULL ? -1 : 0;
}

int trace_listen(struct trace *t, const struct trace_filter *filter, trace_put_fn *put, trace_gone_fn *gone,
                 void *ctx)
{
    struct trace_listener fresh = { .used = true,
                                    .client = filter->client,
                                    .sessions_max = filter->sessions_max,
                                    .put = put,
                                    .gone = gone,
                                    .ctx = ctx };
    int err = filter->ip == NULL ? 0 : parse_net(&fresh, filter->ip);
    if (err != 0)
        return err;
    if (copy_text(&fresh.account, filter->account) != 0 || copy_text(&fresh.site, filter->site) != 0 ||
        copy_text(&fresh.listener, filter->listener) != 0) {
        listener_clear(&fresh);
        return ERR_LIMIT;
    }
    err = ERR_LIMIT;
    pthread_rwlock_wrlock(&t->lock);
    for (uint32_t i = 0; i < TRACE_LISTENERS_MAX && err != 0; i++) {
        if (t->slot[i].used)
            continue;
        fresh.born = atomic_fetch_add(&t->epoch, 1) + 1;
        memcpy(&t->slot[i], &fresh, sizeof fresh);
        atomic_fetch_add(&t->listeners, 1);
        err = 0;
    }
    pthread_rwlock_unlock(&t->lock);
    if (err != 0)
        listener_clear(&fresh);
    return err;
}

void trace_unlisten(struct trace *t, const void *ctx)
{
    trace_gone_fn *gone = NULL;
    void *gone_ctx = NULL;
    pthread_rwlock_wrlock(&t->lock);
    for (uint32_t i = 0; i < TRACE_LISTENERS_MAX; i++) {
        struct trace_listener *l = &t->slot[i];
        if (!l->used || l->ctx != ctx)
            continue;
        gone = l->gone;
        gone_ctx = l->ctx;
        listener_clear(l);
        atomic_fetch_add(&t->epoch, 1);
        atomic_fetch_sub(&t->listeners, 1);
        break;
    }
    pthread_rwlock_unlock(&t->lock);
    if (gone != NULL)
        gone(gone_ctx);
}

/* ---- which listeners want a session ---- */

static bool net_has(const struct trace_listener *l, struct span peer)
{
    char address[64];
    uint8_t ip[16];
    /* "192.0.2.7:25", "[2001:db8::1]:25", or without a port */
    if (peer.n > 0 && peer.p[0] == '[') {
        peer = span_sub(peer, 1);
        const char *end = memchr(peer.p, ']', peer.n);
        peer.n = end == NULL ? 0 : (size_t)(end - peer.p);
    } else if (peer.n > 0) {
        const char *colon = memchr(peer.p, ':', peer.n);
        if (colon != NULL && memchr(colon + 1, ':', peer.n - (size_t)(colon + 1 - peer.p)) == NULL)
            peer.n = (size_t)(colon - peer.p);
    }
    if (peer.n == 0 || peer.n >= sizeof address)
        return false;
    memcpy(address, peer.p, peer.n);
    address[peer.n] = '\0';
    if (inet_pton(l->family, address, ip) != 1)
        return false;
    uint32_t bytes = l->net_bits / 8, rest = l->net_bits % 8;
    if (memcmp(ip, l->net, bytes) != 0)
        return false;
    return rest == 0 || ((ip[bytes] ^ l->net[bytes]) >> (8 - rest)) == 0;
}

static bool text_wanted(const char *filter, struct span text)
{
    return filter == NULL || span_eq_nocase(span_str(filter), text);
}

/* Of a pool's queue ("news/example.org") the destination alone will do. */
static bool site_wanted(const char *filter, struct span site)
{
    const char *slash = site.n == 0 ? NULL : memrchr(site.p, '/', site.n);
    return text_wanted(filter, site) ||
           (slash != NULL && text_wanted(filter, span_sub(site, (size_t)(slash - site.p) + 1)));
}

static bool listener_wants(const struct trace_listener *l, const struct trace_subject *s)
{
    return l->used && !atomic_load_explicit(&l->deaf, memory_order_relaxed) && l->client == s->client &&
           (l->family == 0 || net_has(l, s->peer)) && text_wanted(l->account, s->account) &&
           site_wanted(l->site, s->site) && text_wanted(l->listener, s->listener);
}

/* One more session, unless the listener follows as many as it wants. */
static bool session_joins(struct trace_listener *l)
{
    unsigned n = atomic_fetch_add(&l->sessions, 1);
    if (l->sessions_max == 0 || n < l->sessions_max)
        return true;
    atomic_fetch_sub(&l->sessions, 1);
    return false;
}

bool trace_wanted(struct trace *t, const struct trace_subject *subject, struct trace_mark *mark)
{
    if (atomic_load_explicit(&t->listeners, memory_order_relaxed) == 0) {
        mark->mask = 0;
        return false;
    }
    pthread_rwlock_rdlock(&t->lock);
    unsigned epoch = atomic_load(&t->epoch);
    uint32_t mask = 0;
    for (uint32_t i = 0; i < TRACE_LISTENERS_MAX; i++) {
        struct trace_listener *l = &t->slot[i];
        /* a bit older than the listener is of one that had the slot before */
        bool had = (mark->mask >> i & 1) != 0 && l->born <= mark->epoch;
        if (listener_wants(l, subject) && (had || session_joins(l)))
            mask |= 1u << i;
    }
    mark->mask = mask;
    mark->epoch = epoch;
    pthread_rwlock_unlock(&t->lock);
    return mask != 0;
}

/* ---- lines ---- */

static void put_line(struct trace *t, const struct trace_subject *subject, const struct trace_mark *mark,
                     enum trace_dir dir, struct span text)
{
    struct trace_line line = {
        .at_ms = clock_wall_ms(), .session = subject->session, .dir = dir, .peer = subject->peer, .text = text
    };
    if (line.text.n > LINE_MAX_BYTES)
        line.text.n = LINE_MAX_BYTES;
    pthread_rwlock_rdlock(&t->lock);
    for (uint32_t i = 0; i < TRACE_LISTENERS_MAX; i++) {
        struct trace_listener *l = &t->slot[i];
        if ((mark->mask >> i & 1) == 0 || !l->used || l->born > mark->epoch ||
            atomic_load_explicit(&l->deaf, memory_order_relaxed))
            continue;
        if (!l->put(l->ctx, &line))
            atomic_store_explicit(&l->deaf, true, memory_order_relaxed);
    }
    pthread_rwlock_unlock(&t->lock);
}

void trace_note(struct trace *t, const struct trace_subject *subject, struct trace_mark *mark,
                const char *fmt, ...)
{
    char text[LINE_MAX_BYTES];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (n > 0)
        put_line(t, subject, mark, TRACE_NOTE,
                 span_of(text, (size_t)n < sizeof text ? (size_t)n : sizeof text - 1));
}

static void put_hidden(struct trace *t, const struct trace_subject *subject, const struct trace_mark *mark,
                       enum trace_dir dir, struct span before, size_t octets)
{
    char text[128];
    int n = snprintf(text, sizeof text, "%.*s%s(%zu octets hidden)", (int)before.n, before.p,
                     before.n > 0 ? " " : "", octets);
    put_line(t, subject, mark, dir, span_of(text, (size_t)n));
}

enum head { HEAD_PLAIN, HEAD_AUTH, HEAD_SHORT };

/* Whether a line that begins so is AUTH; blanks in front are skipped, since a client's slip must not show its
 * password either. HEAD_SHORT: cannot be said yet. */
static enum head head_of(struct span s)
{
    size_t at = 0;
    while (at < s.n && (s.p[at] == ' ' || s.p[at] == '\t'))
        at++;
    struct span verb = span_sub(s, at);
    if (verb.n >= 4)
        return span_eq_nocase(span_of(verb.p, 4), SPAN_LIT("AUTH")) ? HEAD_AUTH : HEAD_PLAIN;
    return span_eq_nocase(verb, span_of("AUTH", verb.n)) ? HEAD_SHORT : HEAD_PLAIN;
}

/* "AUTH PLAIN": what may be shown of such a line. */
static struct span auth_shown(struct span line)
{
    size_t at = 0, words = 0;
    while (at < line.n && at < 40) {
        while (at < line.n && line.p[at] == ' ')
            at++;
        if (++words > 2)
            break;
        while (at < line.n && line.p[at] != ' ')
            at++;
    }
    size_t end = words > 2 ? at : line.n;
    while (end > 0 && line.p[end - 1] == ' ')
        end--;
    return span_of(line.p, end < 40 ? end : 0);
}

/* One line or part of one, not hidden for another reason. True: it is AUTH. `held` parts are in front of it.
 */
static bool put_part(struct trace *t, const struct trace_subject *subject, struct trace_mark *mark,
                     enum trace_dir dir, struct span part, bool whole)
{
    struct trace_side *side = &mark->side[dir];
    char joined[LINE_MAX_BYTES];
    if (side->n > 0) {
        size_t n = part.n < sizeof joined - side->n ? part.n : sizeof joined - side->n;
        memcpy(joined, side->held, side->n);
        memcpy(joined + side->n, part.p, n);
        part = span_of(joined, side->n + n);
        side->n = 0;
    }
    enum head head = side->mid ? HEAD_PLAIN : head_of(part);
    if (head == HEAD_SHORT && whole)
        head = HEAD_PLAIN;
    if (head == HEAD_SHORT && part.n <= sizeof side->held) {
        memcpy(side->held, part.p, part.n);
        side->n = (uint8_t)part.n;
        return false;
    }
    side->mid = !whole;
    if (head == HEAD_PLAIN) {
        put_line(t, subject, mark, dir, part);
        return false;
    }
    struct span shown = auth_shown(part);
    if (whole && shown.n == part.n)
        put_line(t, subject, mark, dir, part);
    else
        put_hidden(t, subject, mark, dir, shown, part.n - shown.n);
    return true;
}

void trace_bytes(struct trace *t, const struct trace_subject *subject, struct trace_mark *mark,
                 enum trace_dir dir, struct span bytes, bool secret)
{
    struct trace_side *side = &mark->side[dir];
    if (dir == TRACE_NOTE)
        return;
    while (bytes.n > 0) {
        const char *lf = memchr(bytes.p, '\n', bytes.n);
        bool whole = lf != NULL;
        struct span part = span_of(bytes.p, whole ? (size_t)(lf - bytes.p) : bytes.n);
        bytes = span_sub(bytes, part.n + whole);
        if (whole && part.n > 0 && part.p[part.n - 1] == '\r')
            part.n--;
        if (secret || side->hidden) {
            put_hidden(t, subject, mark, dir, SPAN_LIT(""), part.n + side->n);
            side->n = 0;
            side->hidden = !whole;
        } else if (put_part(t, subject, mark, dir, part, whole)) {
            if (bytes.n > 0)
                put_hidden(t, subject, mark, dir, SPAN_LIT(""), bytes.n);
            side->hidden = bytes.n > 0 ? bytes.p[bytes.n - 1] != '\n' : !whole;
            side->mid = side->hidden;
            return;
        }
        side->mid = !whole && (side->n == 0);
    }
}
