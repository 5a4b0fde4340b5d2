/* The bytes on disk: segment headers, record heads and payloads (docs/spool-format.md). Pure, no I/O. Any
 * thread.
 *
 * A record is a 24-byte head and a payload, padded with zeros to 8 bytes. The head's own check covers the
 * segment's secret salt and the record's place, so that neither a body that imitates a record nor a record of
 * another file or place is ever taken for one. The payload's check is made by whoever encodes it (a worker),
 * the head's by the writer, who alone knows the place.
 */
#ifndef SPOOL_FORMAT_H
#define SPOOL_FORMAT_H

#include "base/cursor.h"
#include "spool/spool.h"

#include <endian.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define FORMAT_VERSION 1
#define SEGMENT_HEADER_BYTES 1024 /* two copies of the header, each in a sector of its own */
#define SEGMENT_HEADER_COPY 512
#define SEGMENT_HEADER_USED 64
#define RECORD_HEAD_BYTES 24
#define RECORD_PAYLOAD_MAX (40u << 20)
#define CHUNK_RAW_MAX 65536u
#define CHUNK_PREFIX_BYTES 8
#define CHUNKS_MAX 65536u /* so a message is at most 4 GiB */
#define COMMIT_FIXED_BYTES 24
#define CHUNK_LOC_BYTES 16
#define BATCH_BYTES 24
#define SEAL_BYTES 16
#define REPLY_BYTES_MAX 512
#define UPDATES_FIXED_BYTES 8
#define UPDATE_FIXED_BYTES 26

enum record_type {
    RECORD_BATCH = 1,
    RECORD_CHUNK = 2,
    RECORD_COMMIT = 3,
    RECORD_STATE = 4,
    RECORD_TOMBSTONE = 5,
    RECORD_SEAL = 6,
    RECORD_TYPE_MAX = 6,
};

enum record_flag {
    RECORD_COPY = 1, /* written by compaction: says nothing new, so the history is not told again */
    RECORD_FULL = 2, /* a STATE that holds every recipient whose state is not as at arrival */
    RECORD_FLAGS_ALL = 3,
};

enum block_method { BLOCK_RAW = 0, BLOCK_LZ4 = 1 };

static inline void put_u32(void *p, uint32_t v)
{
    v = htole32(v);
    memcpy(p, &v, sizeof v);
}

static inline void put_u64(void *p, uint64_t v)
{
    v = htole64(v);
    memcpy(p, &v, sizeof v);
}

static inline uint32_t get_u32(const void *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return le32toh(v);
}

static inline uint64_t get_u64(const void *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return le64toh(v);
}

/* CRC-32C (Castagnoli), not inverted at either end, so that runs chain: start with CRC_INIT, end with ~. */
#define CRC_INIT 0xffffffffu
uint32_t crc_more(uint32_t crc, const void *p, size_t n);
static inline uint32_t crc_of(const void *p, size_t n)
{
    return ~crc_more(CRC_INIT, p, n);
}

/* The run of `front`'s bytes and then of the n bytes of `behind`, both begun with CRC_INIT. */
uint32_t crc_front(uint32_t front, uint32_t behind, uint64_t n);

/* Bytes that a record takes in a segment. */
static inline uint32_t record_bytes(uint32_t payload)
{
    return (RECORD_HEAD_BYTES + payload + 7u) & ~7u;
}

struct segment_header {
    uint32_t number;
    uint64_t salt;
    uint64_t id_floor; /* no id below it is given again */
};

/* Fills SEGMENT_HEADER_BYTES: both copies. */
void segment_header_encode(const struct segment_header *h, uint8_t *out);
/* Takes the first copy that checks; ERR_CORRUPT. `n` may be short of SEGMENT_HEADER_BYTES. */
int segment_header_decode(const uint8_t *p, size_t n, struct segment_header *out);

struct record_head {
    uint32_t payload_crc;
    uint32_t len; /* payload */
    uint8_t type;
    uint8_t flags;
    uint64_t id;
};

/* Where a record is, as its head's check knows it. */
struct record_place {
    uint64_t salt;
    uint32_t segment;
    uint32_t offset;
};

void record_head_encode(const struct record_head *h, const struct record_place *at,
                        uint8_t out[RECORD_HEAD_BYTES]);
bool record_head_decode(const uint8_t p[RECORD_HEAD_BYTES], const struct record_place *at,
                        struct record_head *out);

struct batch {
    uint64_t number;
    uint64_t id_floor;
    uint32_t synced; /* everything in this segment before it was on disk when this batch was written */
    uint32_t bytes;  /* of the batch, with this record */
};
void batch_encode(const struct batch *b, uint8_t out[BATCH_BYTES]);
int batch_decode(struct span payload, struct batch *out);

struct seal {
    uint64_t id_floor;
    uint32_t records;
};
void seal_encode(const struct seal *s, uint8_t out[SEAL_BYTES]);
int seal_decode(struct span payload, struct seal *out);

struct chunk_loc {
    uint32_t segment;
    uint32_t offset; /* of the record's head */
    uint32_t len;    /* payload */
    uint32_t raw;    /* bytes of content */
};

/* A commit's payload: fixed part, envelope, inline block, table of chunk locations. */
struct commit {
    uint32_t nchunks;
    uint32_t inline_raw;
    uint32_t content_crc; /* of all the content */
    uint8_t method;
    struct span envelope;
    struct span data;  /* the inline block as stored */
    struct span table; /* nchunks * CHUNK_LOC_BYTES */
};
/* The fixed part only; the caller lays the rest behind it. */
void commit_encode_fixed(const struct commit *c, uint8_t out[COMMIT_FIXED_BYTES]);
int commit_decode(struct span payload, struct commit *out);
void chunk_loc_encode(const struct chunk_loc *l, uint8_t out[CHUNK_LOC_BYTES]);
struct chunk_loc commit_chunk(const struct commit *c, uint32_t i);

/* Expands a block into out (raw bytes of room). ERR_CORRUPT. */
int block_expand(uint8_t method, struct span stored, uint32_t raw, uint8_t *out);
/* Compresses into out, which has room for n bytes; keeps it raw when that gains nothing. Returns bytes
 * stored. */
uint32_t block_compress(const uint8_t *raw, uint32_t n, uint8_t *out, uint8_t *method);
void chunk_prefix_encode(uint32_t raw, uint8_t method, uint8_t out[CHUNK_PREFIX_BYTES]);
int chunk_decode(struct span payload, uint32_t *raw, uint8_t *method, struct span *stored);

/* The payloads of STATE and TOMBSTONE: recipients of the message, number of updates, updates; a tombstone's
 * last four bytes name the segment of the commit that it ends. */
uint32_t update_bytes(const struct spool_rcpt_update *u);
uint8_t *update_encode(const struct spool_rcpt_update *u, uint8_t *out);

struct updates {
    uint32_t nrcpts;
    uint32_t n;      /* still to be read */
    uint32_t target; /* tombstone only */
    struct cursor c;
};
int updates_open(struct updates *it, uint8_t type, struct span payload);
/* 1 and an update (its reply borrowed from the payload), 0 at the end, or ERR_CORRUPT. */
int updates_next(struct updates *it, struct spool_rcpt_update *out);

#endif
