/* The request to join: JSON, and the hash that a token is bound to. */
#include "node/cluster/join.h"

#include "base/err.h"
#include "base/text.h"
#include "consensus/transport.h"
#include "node/cluster/fields.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VERSION 1

struct join_request_decoded {
    struct join_request r;
    json_t *root; /* r.certificate_request points into it */
};

static bool request_ok(const struct join_request *r)
{
    uint8_t id[8];
    return field_parse_hex(span_str(r->token_id), id, sizeof id) && field_name_ok(span_str(r->name)) &&
           field_address_ok(span_str(r->raft_address)) && field_address_ok(span_str(r->gossip_address)) &&
           r->wall_ms >= 0 && r->certificate_request.n > 0 && r->certificate_request.n <= FIELD_PEM_MAX;
}

int join_request_encode(const struct join_request *r, struct buf *out)
{
    if (!request_ok(r))
        return ERR_BAD;
    char secret[2 * JOIN_SECRET_BYTES + 1];
    field_put_hex(r->secret, sizeof r->secret, secret);
    json_t *root = json_pack("{s:i, s:s, s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:s#}", "version", VERSION,
                             "token", r->token_id, "secret", secret, "name", r->name, "raft_address",
                             r->raft_address, "gossip_address", r->gossip_address, "program", r->version,
                             "features", (json_int_t)r->features, "wall_ms", (json_int_t)r->wall_ms,
                             "certificate_request", r->certificate_request.p, (int)r->certificate_request.n);
    OPENSSL_cleanse(secret, sizeof secret);
    int err = root == NULL ? ERR_BAD : field_put(root, JSON_COMPACT, out);
    json_decref(root);
    return err;
}

/* The first field that is wrong, or NULL. */
static const char *read_request(const json_t *o, struct join_request *r)
{
    uint64_t features = 0, wall_ms = 0;
    uint8_t id[8];
    if (!field_hex(o, "token", id, sizeof id))
        return "token";
    field_put_hex(id, sizeof id, r->token_id);
    if (!field_hex(o, "secret", r->secret, sizeof r->secret))
        return "secret";
    if (!field_name(o, "name", r->name))
        return "name";
    if (!field_address(o, "raft_address", r->raft_address))
        return "raft_address";
    if (!field_address(o, "gossip_address", r->gossip_address))
        return "gossip_address";
    if (!field_text(o, "program", r->version, sizeof r->version))
        return "program";
    if (!field_u64(o, "features", 0, UINT32_MAX, &features))
        return "features";
    if (!field_u64(o, "wall_ms", 0, INT64_MAX, &wall_ms))
        return "wall_ms";
    if (!field_pem(o, "certificate_request", &r->certificate_request))
        return "certificate_request";
    r->features = (uint32_t)features;
    r->wall_ms = (int64_t)wall_ms;
    return NULL;
}

static int say(struct buf *why, const char *words, const char *field)
{
    if (why != NULL)
        buf_printf(why, "%s%s", words, field);
    return ERR_BAD;
}

int join_request_decode(struct span bytes, struct join_request_decoded **out, struct buf *why)
{
    *out = NULL;
    if (bytes.n > TRANSPORT_JOIN_MAX)
        return say(why, "the request is too long", "");
    struct join_request_decoded *d = calloc(1, sizeof *d);
    if (d == NULL)
        return -ENOMEM;
    d->root = json_loadb(bytes.p, bytes.n, JSON_REJECT_DUPLICATES, NULL);
    uint64_t version = 0;
    const char *wrong;
    int err = 0;
    if (!json_is_object(d->root) || !field_u64(d->root, "version", 1, UINT32_MAX, &version))
        err = say(why, "this is no request to join", "");
    else if (version != VERSION)
        err = say(why, "the request is of another version of the program: install the cluster's", "");
    else if ((wrong = read_request(d->root, &d->r)) != NULL)
        err = say(why, "the request is missing, or has a wrong value for, the field ", wrong);
    if (err != 0) {
        join_request_free(d);
        return err;
    }
    *out = d;
    return 0;
}

const struct join_request *join_request_of(const struct join_request_decoded *d)
{
    return &d->r;
}

void join_request_free(struct join_request_decoded *d)
{
    if (d == NULL)
        return;
    json_decref(d->root);
    OPENSSL_cleanse(d, sizeof *d);
    free(d);
}

void join_request_hash(const struct join_request *r, uint8_t sha256[32])
{
    /* each by its own hash, so that no two requests run together to the same bytes */
    uint8_t parts[8][SHA256_DIGEST_LENGTH];
    const uint8_t features[4] = { (uint8_t)r->features, (uint8_t)(r->features >> 8),
                                  (uint8_t)(r->features >> 16), (uint8_t)(r->features >> 24) };
    const struct span fields[8] = { span_str(r->token_id),       span_of(r->secret, sizeof r->secret),
                                    span_str(r->name),           span_str(r->raft_address),
                                    span_str(r->gossip_address), span_str(r->version),
                                    r->certificate_request,      span_of(features, sizeof features) };
    for (size_t i = 0; i < 8; i++)
        SHA256((const uint8_t *)fields[i].p, fields[i].n, parts[i]);
    SHA256(parts[0], sizeof parts, sha256);
}

int join_request_check_clock(const struct join_request *r, int64_t now_ms, char words[256])
{
    int64_t off_ms = r->wall_ms > now_ms ? r->wall_ms - now_ms : now_ms - r->wall_ms;
    if (off_ms <= JOIN_CLOCK_MS)
        return 0;
    char span[32];
    text_format_duration(off_ms - off_ms % 1000, span, sizeof span);
    snprintf(words, 256, "the clock of %s is %s %s: set it (timedatectl set-ntp true) and join again",
             r->name, span, r->wall_ms > now_ms ? "ahead" : "behind");
    return ERR_DENIED;
}
