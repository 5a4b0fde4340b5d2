/* What the spool's tests share. */
#include "fixture.h"

#include "base/ensure.h"
#include "base/err.h"

#include <dirent.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

void scratch_make(char path[256])
{
    const char *tmp = getenv("TMPDIR");
    snprintf(path, 256, "%s/spool-test-XXXXXX", tmp == NULL ? "/tmp" : tmp);
    ensure(mkdtemp(path) != NULL);
}

void scratch_remove(const char *path)
{
    DIR *d = opendir(path);
    if (d == NULL)
        return;
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        char file[600];
        snprintf(file, sizeof file, "%s/%s", path, e->d_name);
        if (e->d_name[0] != '.')
            unlink(file);
    }
    closedir(d);
    rmdir(path);
}

uint64_t rng_next(uint64_t *state)
{
    /* splitmix64 */
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

void body_fill(uint64_t seed, size_t n, uint8_t *out)
{
    static const char text[] = "The quick brown fox jumps over the lazy dog.\r\n";
    uint64_t state = seed;
    for (size_t i = 0; i < n; i++) {
        if ((seed & 1) != 0)
            out[i] = i % 97 == 0 ? (uint8_t)rng_next(&state) : (uint8_t)text[i % (sizeof text - 1)];
        else
            out[i] = (uint8_t)(rng_next(&state) >> 56);
    }
}

struct envelope *envelope_make(uint64_t tag, uint32_t nrcpts)
{
    static struct envelope e;
    static struct envelope_rcpt rcpts[ENVELOPE_RCPTS_MAX];
    static char names[ENVELOPE_RCPTS_MAX][48];
    for (uint32_t i = 0; i < nrcpts; i++) {
        int n = snprintf(names[i], sizeof names[i], "r%u.%llx@example.net", i, (unsigned long long)tag);
        rcpts[i] = (struct envelope_rcpt){ .address = span_of(names[i], (size_t)n) };
    }
    e = (struct envelope){
        .arrival_ms = 1700000000000,
        .class = ENVELOPE_CLASS_PERSON,
        .mail_from = SPAN_LIT("sender@example.com"),
        .account = SPAN_LIT("sender@example.com"),
        .tenant = SPAN_LIT("example.com"),
        .client_ip = SPAN_LIT("192.0.2.7"),
        .helo = SPAN_LIT("laptop.example.com"),
        .protocol = SPAN_LIT("ESMTPSA"),
        .listener = SPAN_LIT("submission"),
        .message_id = SPAN_LIT("<20261121.0001@example.com>"),
        .nrcpts = nrcpts,
        .rcpts = rcpts,
    };
    return &e;
}

static void waited_done(struct spool_op *op)
{
    struct waited *w = LIST_ITEM(op, struct waited, op);
    w->done = 1;
}

void waited_init(struct waited *w)
{
    *w = (struct waited){ .op.done = waited_done };
}

int waited_wait(struct spool *s, struct waited *w)
{
    while (!w->done) {
        if (!s->threads)
            (void)spool_writer_step(s);
        else
            nanosleep(&(struct timespec){ .tv_nsec = 20000 }, NULL);
    }
    return w->op.status;
}

int put_message(struct spool *s, uint64_t seed, size_t n, uint32_t nrcpts, uint64_t *id)
{
    struct spool_ingest *in;
    int err = spool_ingest_open(s, &in);
    if (err != 0)
        return err;
    uint8_t *body = malloc(n + 1);
    ensure(body != NULL);
    body_fill(seed, n, body);
    for (size_t at = 0; at < n && err >= 0;) {
        size_t part = n - at < 10000 ? n - at : 10000;
        err = spool_ingest_write(in, body + at, part);
        if (err == 1 && !s->threads)
            (void)spool_writer_step(s);
        at += part;
    }
    free(body);
    if (err < 0) {
        spool_ingest_abort(in);
        return err;
    }
    struct waited w;
    waited_init(&w);
    spool_ingest_commit(in, envelope_make(seed, nrcpts), &w.op);
    err = waited_wait(s, &w);
    if (id != NULL)
        *id = w.op.id;
    return err;
}

bool has_message(struct spool *s, uint64_t id, uint64_t seed, size_t n)
{
    struct spool_reader *r;
    if (spool_reader_open(s, id, &r) != 0)
        return false;
    uint8_t *body = malloc(n + 1);
    ensure(body != NULL);
    body_fill(seed, n, body);
    size_t at = 0;
    bool same = true;
    for (;;) {
        const char *p;
        size_t part;
        if (spool_reader_next(r, &p, &part) != 0) {
            same = false;
            break;
        }
        if (part == 0)
            break;
        if (at + part > n || memcmp(body + at, p, part) != 0) {
            same = false;
            break;
        }
        at += part;
    }
    spool_reader_close(r);
    free(body);
    return same && at == n;
}

int set_state(struct spool *s, uint64_t id, uint32_t rcpt, uint8_t state, const char *reply)
{
    struct waited w;
    waited_init(&w);
    struct spool_rcpt_update u = {
        .rcpt = rcpt, .to = { .state = state, .attempts = 1, .next_ms = 5, .reply = span_str(reply) }
    };
    int err = spool_update(s, id, &u, 1, &w.op);
    return err != 0 ? err : waited_wait(s, &w);
}
