/* A bounded queue of dialogue lines: many threads put, one admin thread takes. When full, lines are dropped
 * and counted rather than holding a worker up; the reader is told how many at the place where they are
 * missing.
 */
#include "node/admin/stream.h"

#include "base/clock.h"
#include "base/cond.h"
#include "base/ensure.h"
#include "base/err.h"
#include "node/admin/json_out.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

struct entry {
    int64_t at_ms;
    uint64_t session;
    uint64_t dropped_before;
    enum admin_dir dir;
    uint16_t peer_len, text_len;
    char bytes[]; /* peer, then text */
};

#define PEER_MAX 128

struct admin_stream {
    pthread_mutex_t lock;
    pthread_cond_t ready;
    uint32_t refs; /* all that follows is under lock */
    struct entry *ring[ADMIN_STREAM_LINES];
    uint32_t head, len;
    uint64_t dropped; /* since the last line that was kept */
    uint64_t dropped_total;
    bool closed, ended;
    int end_err;
    char end_text[512];
};

struct admin_stream *admin_stream_new(void)
{
    struct admin_stream *s = calloc(1, sizeof(*s));
    if (s == NULL)
        return NULL;
    cond_init(&s->ready);
    ensure(pthread_mutex_init(&s->lock, NULL) == 0);
    s->refs = 1;
    return s;
}

void admin_stream_hold(struct admin_stream *s)
{
    pthread_mutex_lock(&s->lock);
    ensure(s->refs > 0);
    s->refs++;
    pthread_mutex_unlock(&s->lock);
}

static void drop_entries(struct admin_stream *s)
{
    for (; s->len > 0; s->len--) {
        free(s->ring[s->head]);
        s->head = (s->head + 1) % ADMIN_STREAM_LINES;
    }
}

void admin_stream_rele(struct admin_stream *s)
{
    if (s == NULL)
        return;
    pthread_mutex_lock(&s->lock);
    ensure(s->refs > 0);
    uint32_t left = --s->refs;
    pthread_mutex_unlock(&s->lock);
    if (left > 0)
        return;
    drop_entries(s);
    pthread_cond_destroy(&s->ready);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

static struct entry *entry_new(const struct admin_stream_line *line)
{
    size_t peer = line->peer.n < PEER_MAX ? line->peer.n : PEER_MAX;
    size_t text = line->text.n < ADMIN_STREAM_LINE_MAX ? line->text.n : ADMIN_STREAM_LINE_MAX;
    struct entry *en = malloc(sizeof(*en) + peer + text);
    if (en == NULL)
        return NULL;
    *en = (struct entry){ .at_ms = line->at_ms,
                          .session = line->session,
                          .dir = line->dir,
                          .peer_len = (uint16_t)peer,
                          .text_len = (uint16_t)text };
    if (peer > 0)
        memcpy(en->bytes, line->peer.p, peer);
    if (text > 0)
        memcpy(en->bytes + peer, line->text.p, text);
    return en;
}

int admin_stream_put(struct admin_stream *s, const struct admin_stream_line *line)
{
    struct entry *en = entry_new(line);
    pthread_mutex_lock(&s->lock);
    int err = s->closed || s->ended ? ERR_CLOSED : en == NULL || s->len == ADMIN_STREAM_LINES ? ERR_LIMIT : 0;
    if (err == 0) {
        en->dropped_before = s->dropped;
        s->dropped = 0;
        s->ring[(s->head + s->len) % ADMIN_STREAM_LINES] = en;
        s->len++;
        pthread_cond_signal(&s->ready);
        en = NULL;
    } else if (err == ERR_LIMIT) {
        s->dropped++;
        s->dropped_total++;
    }
    pthread_mutex_unlock(&s->lock);
    free(en);
    return err;
}

void admin_stream_end(struct admin_stream *s, int err, const char *text)
{
    pthread_mutex_lock(&s->lock);
    if (!s->ended) {
        s->ended = true;
        s->end_err = err;
        const char *why = text != NULL ? text : err != 0 ? err_text(err) : "";
        size_t n = strnlen(why, sizeof(s->end_text) - 1);
        memcpy(s->end_text, why, n);
        s->end_text[n] = '\0';
        pthread_cond_signal(&s->ready);
    }
    pthread_mutex_unlock(&s->lock);
}

void admin_stream_close(struct admin_stream *s)
{
    pthread_mutex_lock(&s->lock);
    s->closed = true;
    pthread_cond_signal(&s->ready);
    pthread_mutex_unlock(&s->lock);
}

bool admin_stream_closed(struct admin_stream *s)
{
    pthread_mutex_lock(&s->lock);
    bool closed = s->closed;
    pthread_mutex_unlock(&s->lock);
    return closed;
}

static void put_entry(struct buf *out, const struct entry *en)
{
    static const char *const dirs[] = {
        [ADMIN_DIR_IN] = "in", [ADMIN_DIR_OUT] = "out", [ADMIN_DIR_NOTE] = "note"
    };
    struct json_out j;
    json_out_begin(&j, out);
    json_out_time(&j, "at_ms", en->at_ms);
    json_out_u64(&j, "session", en->session);
    json_out_str(&j, "dir", (unsigned)en->dir <= ADMIN_DIR_NOTE ? dirs[en->dir] : "note");
    json_out_opt(&j, "peer", span_of(en->bytes, en->peer_len));
    json_out_span(&j, "text", span_of(en->bytes + en->peer_len, en->text_len));
    if (en->dropped_before > 0)
        json_out_u64(&j, "dropped_before", en->dropped_before);
    json_out_end(&j);
}

void admin_stream_put_end(struct buf *out, int err, const char *text, uint64_t dropped)
{
    struct json_out j;
    json_out_begin(&j, out);
    json_out_str(&j, "dir", "end");
    json_out_bool(&j, "ok", err == 0);
    json_out_str(&j, "text", text);
    json_out_u64(&j, "dropped", dropped);
    json_out_end(&j);
}

enum admin_stream_got admin_stream_take(struct admin_stream *s, uint32_t wait_ms, struct buf *out)
{
    int64_t until = clock_mono_ns() + (int64_t)wait_ms * 1000000;
    struct entry *en = NULL;
    enum admin_stream_got got = ADMIN_STREAM_NOTHING;
    pthread_mutex_lock(&s->lock);
    int timed_out = 0;
    while (s->len == 0 && !s->ended && !s->closed && timed_out != ETIMEDOUT)
        timed_out = cond_wait_until(&s->ready, &s->lock, until);
    if (s->len > 0) {
        en = s->ring[s->head];
        s->head = (s->head + 1) % ADMIN_STREAM_LINES;
        s->len--;
        got = ADMIN_STREAM_LINE;
    } else if (s->ended || s->closed) {
        const char *text = s->ended ? s->end_text : "the stream was closed";
        admin_stream_put_end(out, s->ended ? s->end_err : ERR_CLOSED, text, s->dropped_total);
        got = ADMIN_STREAM_END;
    }
    pthread_mutex_unlock(&s->lock);
    if (en != NULL)
        put_entry(out, en);
    free(en);
    return got;
}
