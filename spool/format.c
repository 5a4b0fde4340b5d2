/* The bytes on disk, encoded and decoded. Pure, no I/O. Any thread. */
#include "spool/format.h"

#include "base/ensure.h"
#include "base/err.h"

#include <isa-l/crc.h>
#include <limits.h>
#include <lz4.h>

static const uint8_t magic[8] = { 'T', 'P', 'S', 'P', 'O', 'O', 'L', '\n' };

uint32_t crc_more(uint32_t crc, const void *p, size_t n)
{
    ensure(n <= INT_MAX);
    return n == 0 ? crc : crc32_iscsi((unsigned char *)(uintptr_t)p, (int)n, crc);
}

#define CRC_POLYNOMIAL 0x82f63b78u /* Castagnoli's, the lowest bit being the highest power */
#define CRC_ONE 0x80000000u

/* The product of two polynomials modulo the CRC's. */
static uint32_t crc_multiply(uint32_t a, uint32_t b)
{
    uint32_t product = 0;
    for (uint32_t bit = CRC_ONE; bit != 0; bit >>= 1) {
        if ((a & bit) != 0)
            product ^= b;
        b = (b >> 1) ^ ((b & 1) != 0 ? CRC_POLYNOMIAL : 0);
    }
    return product;
}

/* A CRC is linear: n bytes more multiply what came before them by x to the 8n, whatever they are. */
uint32_t crc_front(uint32_t front, uint32_t behind, uint64_t n)
{
    uint32_t power = CRC_ONE, square = CRC_ONE >> 8;
    for (; n != 0; n >>= 1) {
        if ((n & 1) != 0)
            power = crc_multiply(power, square);
        square = crc_multiply(square, square);
    }
    return crc_multiply(front ^ CRC_INIT, power) ^ behind;
}

void segment_header_encode(const struct segment_header *h, uint8_t *out)
{
    memset(out, 0, SEGMENT_HEADER_BYTES);
    for (int copy = 0; copy < 2; copy++) {
        uint8_t *p = out + copy * SEGMENT_HEADER_COPY;
        memcpy(p, magic, sizeof magic);
        put_u32(p + 8, FORMAT_VERSION);
        put_u32(p + 12, h->number);
        put_u64(p + 16, h->salt);
        put_u64(p + 24, h->id_floor);
        put_u32(p + SEGMENT_HEADER_USED - 4, crc_of(p, SEGMENT_HEADER_USED - 4));
    }
}

int segment_header_decode(const uint8_t *p, size_t n, struct segment_header *out)
{
    for (size_t at = 0; at + SEGMENT_HEADER_USED <= n && at <= SEGMENT_HEADER_COPY;
         at += SEGMENT_HEADER_COPY) {
        const uint8_t *h = p + at;
        if (memcmp(h, magic, sizeof magic) != 0 ||
            get_u32(h + SEGMENT_HEADER_USED - 4) != crc_of(h, SEGMENT_HEADER_USED - 4) ||
            get_u32(h + 8) != FORMAT_VERSION)
            continue;
        *out = (struct segment_header){ .number = get_u32(h + 12),
                                        .salt = get_u64(h + 16),
                                        .id_floor = get_u64(h + 24) };
        return 0;
    }
    return ERR_CORRUPT;
}

static uint32_t head_crc(const uint8_t *head, const struct record_place *at)
{
    uint8_t place[16 + RECORD_HEAD_BYTES - 4];
    put_u64(place, at->salt);
    put_u32(place + 8, at->segment);
    put_u32(place + 12, at->offset);
    memcpy(place + 16, head + 4, RECORD_HEAD_BYTES - 4);
    return crc_of(place, sizeof place);
}

void record_head_encode(const struct record_head *h, const struct record_place *at,
                        uint8_t out[RECORD_HEAD_BYTES])
{
    ensure(h->len <= RECORD_PAYLOAD_MAX);
    put_u32(out + 4, h->payload_crc);
    put_u32(out + 8, h->len);
    out[12] = h->type;
    out[13] = h->flags;
    out[14] = out[15] = 0;
    put_u64(out + 16, h->id);
    put_u32(out, head_crc(out, at));
}

bool record_head_decode(const uint8_t p[RECORD_HEAD_BYTES], const struct record_place *at,
                        struct record_head *out)
{
    *out = (struct record_head){
        .payload_crc = get_u32(p + 4),
        .len = get_u32(p + 8),
        .type = p[12],
        .flags = p[13],
        .id = get_u64(p + 16),
    };
    /* the cheap tests first: a search for the next record after damage comes here for every eighth byte */
    if (out->type == 0 || out->type > RECORD_TYPE_MAX || out->flags > RECORD_FLAGS_ALL || p[14] != 0 ||
        p[15] != 0 || out->len > RECORD_PAYLOAD_MAX)
        return false;
    return get_u32(p) == head_crc(p, at);
}

void batch_encode(const struct batch *b, uint8_t out[BATCH_BYTES])
{
    put_u64(out, b->number);
    put_u64(out + 8, b->id_floor);
    put_u32(out + 16, b->synced);
    put_u32(out + 20, b->bytes);
}

int batch_decode(struct span payload, struct batch *out)
{
    if (payload.n != BATCH_BYTES)
        return ERR_CORRUPT;
    *out = (struct batch){ .number = get_u64(payload.p),
                           .id_floor = get_u64(payload.p + 8),
                           .synced = get_u32(payload.p + 16),
                           .bytes = get_u32(payload.p + 20) };
    return 0;
}

void seal_encode(const struct seal *s, uint8_t out[SEAL_BYTES])
{
    put_u64(out, s->id_floor);
    put_u32(out + 8, s->records);
    put_u32(out + 12, 0);
}

int seal_decode(struct span payload, struct seal *out)
{
    if (payload.n != SEAL_BYTES)
        return ERR_CORRUPT;
    *out = (struct seal){ .id_floor = get_u64(payload.p), .records = get_u32(payload.p + 8) };
    return 0;
}

void commit_encode_fixed(const struct commit *c, uint8_t out[COMMIT_FIXED_BYTES])
{
    put_u32(out, (uint32_t)c->envelope.n);
    put_u32(out + 4, c->nchunks);
    put_u32(out + 8, c->inline_raw);
    put_u32(out + 12, (uint32_t)c->data.n);
    put_u32(out + 16, c->content_crc);
    put_u32(out + 20, c->method);
}

int commit_decode(struct span payload, struct commit *out)
{
    struct cursor c;
    cursor_init(&c, payload.p, payload.n);
    uint32_t env_len = cursor_u32(&c);
    out->nchunks = cursor_u32(&c);
    out->inline_raw = cursor_u32(&c);
    uint32_t stored = cursor_u32(&c);
    out->content_crc = cursor_u32(&c);
    uint32_t method = cursor_u32(&c);
    if (out->nchunks > CHUNKS_MAX || out->inline_raw > CHUNK_RAW_MAX || stored > CHUNK_RAW_MAX ||
        method > BLOCK_LZ4)
        return ERR_CORRUPT;
    out->method = (uint8_t)method;
    out->envelope = cursor_bytes(&c, env_len);
    out->data = cursor_bytes(&c, stored);
    out->table = cursor_bytes(&c, (size_t)out->nchunks * CHUNK_LOC_BYTES);
    if (cursor_err(&c) || cursor_left(&c) != 0)
        return ERR_CORRUPT;
    return 0;
}

void chunk_loc_encode(const struct chunk_loc *l, uint8_t out[CHUNK_LOC_BYTES])
{
    put_u32(out, l->segment);
    put_u32(out + 4, l->offset);
    put_u32(out + 8, l->len);
    put_u32(out + 12, l->raw);
}

struct chunk_loc commit_chunk(const struct commit *c, uint32_t i)
{
    ensure(i < c->nchunks);
    const char *p = c->table.p + (size_t)i * CHUNK_LOC_BYTES;
    return (struct chunk_loc){
        .segment = get_u32(p), .offset = get_u32(p + 4), .len = get_u32(p + 8), .raw = get_u32(p + 12)
    };
}

int block_expand(uint8_t method, struct span stored, uint32_t raw, uint8_t *out)
{
    if (method == BLOCK_RAW) {
        if (stored.n != raw)
            return ERR_CORRUPT;
        memcpy(out, stored.p, raw);
        return 0;
    }
    int n = LZ4_decompress_safe(stored.p, (char *)out, (int)stored.n, (int)raw);
    return n >= 0 && (uint32_t)n == raw ? 0 : ERR_CORRUPT;
}

uint32_t block_compress(const uint8_t *raw, uint32_t n, uint8_t *out, uint8_t *method)
{
    ensure(n <= CHUNK_RAW_MAX);
    /* less than a sixteenth gained is not worth the expansion on the way out */
    int room = (int)(n - n / 16);
    int stored = n < 64 ? 0 : LZ4_compress_default((const char *)raw, (char *)out, (int)n, room);
    if (stored > 0) {
        *method = BLOCK_LZ4;
        return (uint32_t)stored;
    }
    *method = BLOCK_RAW;
    if (n > 0)
        memcpy(out, raw, n);
    return n;
}

void chunk_prefix_encode(uint32_t raw, uint8_t method, uint8_t out[CHUNK_PREFIX_BYTES])
{
    put_u32(out, raw);
    put_u32(out + 4, method);
}

int chunk_decode(struct span payload, uint32_t *raw, uint8_t *method, struct span *stored)
{
    if (payload.n < CHUNK_PREFIX_BYTES || payload.n > CHUNK_PREFIX_BYTES + CHUNK_RAW_MAX)
        return ERR_CORRUPT;
    *raw = get_u32(payload.p);
    uint32_t m = get_u32(payload.p + 4);
    if (*raw > CHUNK_RAW_MAX || m > BLOCK_LZ4)
        return ERR_CORRUPT;
    *method = (uint8_t)m;
    *stored = span_sub(payload, CHUNK_PREFIX_BYTES);
    return 0;
}

static size_t reply_kept(const struct spool_rcpt_update *u)
{
    return u->to.reply.n < REPLY_BYTES_MAX ? u->to.reply.n : REPLY_BYTES_MAX;
}

uint32_t update_bytes(const struct spool_rcpt_update *u)
{
    return UPDATE_FIXED_BYTES + (uint32_t)reply_kept(u);
}

uint8_t *update_encode(const struct spool_rcpt_update *u, uint8_t *out)
{
    size_t n = reply_kept(u);
    put_u32(out, u->rcpt);
    out[4] = u->to.state;
    out[5] = u->to.delay_told;
    out[6] = (uint8_t)u->to.attempts;
    out[7] = (uint8_t)(u->to.attempts >> 8);
    put_u64(out + 8, (uint64_t)u->to.next_ms);
    put_u64(out + 16, (uint64_t)u->to.changed_ms);
    out[24] = (uint8_t)n;
    out[25] = (uint8_t)(n >> 8);
    if (n > 0)
        memcpy(out + UPDATE_FIXED_BYTES, u->to.reply.p, n);
    return out + UPDATE_FIXED_BYTES + n;
}

int updates_open(struct updates *it, uint8_t type, struct span payload)
{
    it->target = 0;
    if (type == RECORD_TOMBSTONE) {
        if (payload.n < UPDATES_FIXED_BYTES + 4)
            return ERR_CORRUPT;
        it->target = get_u32(payload.p + payload.n - 4);
        payload.n -= 4;
    }
    cursor_init(&it->c, payload.p, payload.n);
    it->nrcpts = cursor_u32(&it->c);
    it->n = cursor_u32(&it->c);
    if (cursor_err(&it->c) || it->nrcpts == 0 || it->nrcpts > ENVELOPE_RCPTS_MAX || it->n > it->nrcpts)
        return ERR_CORRUPT;
    return 0;
}

int updates_next(struct updates *it, struct spool_rcpt_update *out)
{
    if (it->n == 0)
        return cursor_left(&it->c) == 0 ? 0 : ERR_CORRUPT;
    it->n--;
    out->rcpt = cursor_u32(&it->c);
    out->to.state = cursor_u8(&it->c);
    out->to.delay_told = cursor_u8(&it->c);
    out->to.attempts = cursor_u16(&it->c);
    out->to.next_ms = (int64_t)cursor_u64(&it->c);
    out->to.changed_ms = (int64_t)cursor_u64(&it->c);
    uint16_t n = cursor_u16(&it->c);
    out->to.reply = cursor_bytes(&it->c, n);
    if (cursor_err(&it->c) || out->rcpt >= it->nrcpts || out->to.state >= RCPT_STATES || n > REPLY_BYTES_MAX)
        return ERR_CORRUPT;
    return 1;
}
