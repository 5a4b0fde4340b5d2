/* Fuzzes a start on arbitrary segments: the spool is opened on what the input describes, every message is
 * read, compaction runs, and a second start must find the same messages.
 *
 * Input: pieces of [kind][length, 2 bytes][bytes]. Kinds below 6: a record of that type + 1 with good checks,
 * its id the next byte; 6: bytes as they are; 7: the segment ends and the next begins. So the fuzzer need not
 * find CRCs.
 */
#include "base/ensure.h"
#include "base/log.h"
#include "test/unit/spool/fixture.h"
#include "test/unit/spool/simdisk.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define SALT 99
#define SEGMENTS_MAX 4
#define FOUND_MAX 512

struct writer {
    struct simdisk *disk;
    uint8_t bytes[65536];
    uint32_t at, number;
};

static void segment_begin(struct writer *w)
{
    w->number++;
    w->at = SEGMENT_HEADER_BYTES;
    segment_header_encode(&(struct segment_header){ w->number, SALT, 1 }, w->bytes);
}

static void segment_end(struct writer *w)
{
    const struct disk *d = simdisk_disk(w->disk);
    char name[32];
    snprintf(name, sizeof name, "sim/%08x.seg", w->number);
    int fd = d->create(d->ctx, name);
    struct iovec iov = { w->bytes, w->at };
    ensure(fd >= 0 && d->pwritev(d->ctx, fd, &iov, 1, 0) == (ssize_t)w->at);
}

static void record_put(struct writer *w, uint8_t type, uint64_t id, const uint8_t *p, uint32_t n)
{
    if (w->at + record_bytes(n) > sizeof w->bytes)
        return;
    uint8_t *at = w->bytes + w->at;
    memset(at, 0, record_bytes(n));
    if (n > 0)
        memcpy(at + RECORD_HEAD_BYTES, p, n);
    record_head_encode(&(struct record_head){ crc_of(p, n), n, type, (uint8_t)(n & 3), id },
                       &(struct record_place){ SALT, w->number, w->at }, at);
    w->at += record_bytes(n);
}

static void build(struct writer *w, const uint8_t *p, size_t n)
{
    segment_begin(w);
    while (n >= 4) {
        uint8_t kind = p[0] % 8;
        size_t len = (size_t)p[1] | (size_t)p[2] << 8;
        uint8_t id = p[3];
        p += 4;
        n -= 4;
        if (len > n)
            len = n;
        if (kind < 6) {
            record_put(w, (uint8_t)(kind + 1), id, p, (uint32_t)len);
        } else if (kind == 6 && w->at + len <= sizeof w->bytes) {
            memcpy(w->bytes + w->at, p, len);
            w->at += (uint32_t)len;
        } else if (kind == 7 && w->number < SEGMENTS_MAX) {
            segment_end(w);
            segment_begin(w);
        }
        p += len;
        n -= len;
    }
    segment_end(w);
}

struct found {
    uint32_t n;
    uint64_t ids[FOUND_MAX];
};

static int on_found(void *ctx, const struct envelope *env, const struct spool_rcpt *rcpts)
{
    struct found *f = ctx;
    for (uint32_t i = 0; i < env->nrcpts; i++)
        ensure(rcpts[i].state < RCPT_STATES);
    ensure(f->n < FOUND_MAX);
    f->ids[f->n++] = env->id;
    return 0;
}

static void read_all(struct spool *s, const struct found *f)
{
    for (uint32_t i = 0; i < f->n; i++) {
        struct spool_info *info;
        struct spool_reader *r;
        if (spool_info(s, f->ids[i], &info) == 0)
            spool_info_free(info);
        if (spool_reader_open(s, f->ids[i], &r) != 0)
            continue;
        const char *p;
        size_t n = 0;
        while (spool_reader_next(r, &p, &n) == 0 && n > 0)
            ;
        spool_reader_close(r);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct writer w;
    struct found first = { 0 }, second = { 0 };
    log_set_level((enum log_level)0);
    w.disk = simdisk_new();
    w.number = 0;
    build(&w, data, size);
    struct spool_config config = {
        .dir = "sim", .disk = simdisk_disk(w.disk), .segment_bytes = 65536, .min_free_bytes = 1
    };
    struct spool_verify_result v;
    (void)spool_verify("sim", config.disk, NULL, NULL, &v);
    struct spool *s;
    if (spool_open_with(&config, false, on_found, &first, &s) == 0) {
        read_all(s, &first);
        for (int i = 0; i < 20 && spool_background_step(s); i++)
            ;
        spool_close(s);
        ensure(spool_open_with(&config, false, on_found, &second, &s) == 0);
        ensure(first.n == second.n);
        spool_close(s);
    }
    simdisk_free(w.disk);
    return 0;
}
