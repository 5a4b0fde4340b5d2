/* What a node says of itself, written and read. Pure.
 *
 * Little-endian: the format (1), flags, the numbers in the order below, the version's length and text, then
 * what was added since. A
 * newer node may add to the end, which an older one passes over: so a cluster can be upgraded node by node.
 */
#include "base/cursor.h"
#include "base/err.h"
#include "gossip/gossip.h"

enum { FORMAT = 1, DRAINING = 1, ACCEPTING = 2, QUORUM = 4, FENCED = 8, DISK_LOW = 16 };

int gossip_state_encode(const struct gossip_state *s, struct buf *out)
{
    size_t version_bytes = strnlen(s->version, sizeof s->version);
    if (s->node == 0 || version_bytes == sizeof s->version)
        return ERR_BAD;
    int flags = (s->draining ? DRAINING : 0) | (s->accepting ? ACCEPTING : 0) | (s->quorum ? QUORUM : 0) |
                (s->fenced ? FENCED : 0) | (s->disk_low ? DISK_LOW : 0);
    buf_put_u8(out, FORMAT);
    buf_put_u8(out, (uint8_t)flags);
    const uint64_t wide[] = { s->node,
                              s->session,
                              s->applied,
                              s->published,
                              s->digest_index,
                              s->digest,
                              s->leader,
                              s->term,
                              s->queued,
                              s->held,
                              s->sessions_in,
                              s->sessions_out,
                              s->accepted_per_min,
                              s->delivered_per_min };
    for (size_t i = 0; i < sizeof wide / sizeof wide[0]; i++)
        buf_put_u64(out, wide[i]);
    buf_put_u32(out, s->features);
    buf_put_u32(out, s->cpu_permille);
    buf_put_u32(out, s->disk_free_permille);
    buf_put_u8(out, (uint8_t)version_bytes);
    buf_put(out, s->version, version_bytes);
    buf_put_u64(out, (uint64_t)s->wall_ms);
    buf_put_u32(out, s->transfers_late);
    return buf_err(out);
}

static bool printable(struct span s)
{
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < ' ' || s.p[i] > '~')
            return false;
    }
    return true;
}

int gossip_state_decode(struct span bytes, struct gossip_state *out)
{
    struct cursor c;
    cursor_init(&c, bytes.p, bytes.n);
    struct gossip_state s = { 0 };
    uint8_t format = cursor_u8(&c);
    uint8_t flags = cursor_u8(&c);
    uint64_t *const wide[] = { &s.node,
                               &s.session,
                               &s.applied,
                               &s.published,
                               &s.digest_index,
                               &s.digest,
                               &s.leader,
                               &s.term,
                               &s.queued,
                               &s.held,
                               &s.sessions_in,
                               &s.sessions_out,
                               &s.accepted_per_min,
                               &s.delivered_per_min };
    for (size_t i = 0; i < sizeof wide / sizeof wide[0]; i++)
        *wide[i] = cursor_u64(&c);
    s.features = cursor_u32(&c);
    s.cpu_permille = cursor_u32(&c);
    s.disk_free_permille = cursor_u32(&c);
    struct span version = cursor_bytes(&c, cursor_u8(&c));
    if (cursor_err(&c) != 0)
        return ERR_TORN;
    if (format != FORMAT || s.node == 0 || version.n >= sizeof s.version || !printable(version))
        return ERR_BAD;
    if (cursor_left(&c) >= 12) { /* an older node ends before */
        s.wall_ms = (int64_t)cursor_u64(&c);
        s.transfers_late = cursor_u32(&c);
    }
    s.draining = (flags & DRAINING) != 0;
    s.accepting = (flags & ACCEPTING) != 0;
    s.quorum = (flags & QUORUM) != 0;
    s.fenced = (flags & FENCED) != 0;
    s.disk_low = (flags & DISK_LOW) != 0;
    memcpy(s.version, version.p, version.n);
    *out = s;
    return 0;
}
