/* Fuzzes the decoders of what stands inside records. The first byte chooses the decoder. What decodes must
 * encode to the same bytes again.
 */
#include "base/ensure.h"
#include "base/err.h"
#include "spool/format.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_envelope(const uint8_t *p, size_t n)
{
    struct cursor c;
    struct envelope_decoded d;
    cursor_init(&c, p, n);
    if (envelope_decode(&c, &d) != 0)
        return;
    struct buf b;
    buf_init(&b, RECORD_PAYLOAD_MAX);
    ensure(envelope_encode(&d.env, &b) == 0);
    ensure(b.len == n - cursor_left(&c));
    ensure(memcmp(b.data, p, b.len) == 0);
    buf_fini(&b);
    envelope_decoded_fini(&d);
}

static void try_commit(const uint8_t *p, size_t n)
{
    struct commit c;
    static uint8_t out[CHUNK_RAW_MAX];
    if (commit_decode(span_of(p, n), &c) != 0)
        return;
    for (uint32_t i = 0; i < c.nchunks; i++)
        (void)commit_chunk(&c, i);
    (void)block_expand(c.method, c.data, c.inline_raw, out);
    try_envelope((const uint8_t *)c.envelope.p, c.envelope.n);
}

static void try_updates(uint8_t type, const uint8_t *p, size_t n)
{
    struct updates it;
    struct spool_rcpt_update u;
    if (updates_open(&it, type, span_of(p, n)) != 0)
        return;
    const uint8_t *from = it.c.p;
    while (updates_next(&it, &u) > 0) {
        uint8_t again[UPDATE_FIXED_BYTES + REPLY_BYTES_MAX];
        ensure(u.rcpt < it.nrcpts);
        ensure((size_t)(update_encode(&u, again) - again) == (size_t)(it.c.p - from));
        ensure(memcmp(again, from, (size_t)(it.c.p - from)) == 0);
        from = it.c.p;
    }
}

static void try_chunk(const uint8_t *p, size_t n)
{
    static uint8_t out[CHUNK_RAW_MAX];
    uint32_t raw;
    uint8_t method;
    struct span stored;
    if (chunk_decode(span_of(p, n), &raw, &method, &stored) == 0)
        (void)block_expand(method, stored, raw, out);
}

static void try_id(const uint8_t *p, size_t n)
{
    uint64_t id, again;
    char text[SPOOL_ID_TEXT];
    if (spool_id_parse(span_of(p, n), &id) != 0)
        return;
    spool_id_format(id, text);
    ensure(spool_id_parse(span_str(text), &again) == 0);
    ensure(spool_id_public(id) == again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct batch batch;
    struct seal seal;
    struct segment_header header;
    if (size == 0)
        return 0;
    const uint8_t *p = data + 1;
    size_t n = size - 1;
    switch (data[0] % 8) {
    case 0:
        try_envelope(p, n);
        break;
    case 1:
        try_commit(p, n);
        break;
    case 2:
        try_updates(RECORD_STATE, p, n);
        break;
    case 3:
        try_updates(RECORD_TOMBSTONE, p, n);
        break;
    case 4:
        try_chunk(p, n);
        break;
    case 5:
        (void)batch_decode(span_of(p, n), &batch);
        (void)seal_decode(span_of(p, n), &seal);
        break;
    case 6:
        (void)segment_header_decode(p, n, &header);
        break;
    default:
        try_id(p, n);
        break;
    }
    return 0;
}
