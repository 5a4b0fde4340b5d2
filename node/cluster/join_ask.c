/* The joiner's side: asks one address after another until the cluster has answered. Blocking (join_dial.c
 * talks). */
#include "node/cluster/join.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/text.h"
#include "consensus/transport.h"
#include "node/cluster/ca_impl.h"
#include "node/cluster/fields.h"
#include "node/cluster/identity_impl.h"
#include "node/cluster/join_dial.h"

#include <openssl/crypto.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#define HOPS_MAX 3
#define DIAL_MS 10000
#define PAUSE_MS 300 /* between two rounds over the addresses */

enum outcome {
    DONE,
    REFUSED, /* the cluster's last word */
    AGAIN,   /* not now, or not reached */
    NEVER,   /* asking here again would give the same */
};

struct ask {
    const struct join_token *token;
    struct join_request request;
    struct buf key, certificate_request;
    int64_t deadline_ms;
    struct identity *out;
};

/* ---- the answer ---------------------------------------------------------------------------------------- */

/* What was answered must be a certificate for us, of the authority that the token names. */
static const char *check_answer(const struct ask *k, const struct join_answer *a)
{
    uint8_t sha256[32];
    struct ca_info info;
    if (ca_fingerprint(a->ca, sha256) != 0 || memcmp(sha256, k->token->ca_sha256, sizeof sha256) != 0)
        return "it answered with another authority than the token's";
    if (ca_read(a->certificate, &info) != 0 || ca_verify(a->ca, a->certificate, clock_wall_ms()) != 0)
        return "it answered with a certificate that is not good";
    if (memcmp(info.peer.cluster, a->self.cluster, sizeof info.peer.cluster) != 0 ||
        info.peer.epoch != a->self.epoch || info.peer.node != a->self.node ||
        strcmp(info.name, k->request.name) != 0)
        return "it answered with another node's certificate";
    if (ca_key_matches(a->certificate, buf_span(&k->key)) != 0)
        return "it answered with a certificate for another key";
    return NULL;
}

static int fill(const struct ask *k, const struct join_answer *a, struct identity *out)
{
    static const uint8_t none[CA_SECRET_BYTES];
    out->self = a->self;
    out->slot = a->slot;
    memcpy(out->name, k->request.name, sizeof out->name);
    memcpy(out->raft_address, k->request.raft_address, sizeof out->raft_address);
    memcpy(out->gossip_address, k->request.gossip_address, sizeof out->gossip_address);
    memcpy(out->secret, a->secret, sizeof out->secret);
    out->has_secret = memcmp(a->secret, none, sizeof none) != 0;
    memcpy(out->seeds, a->seeds, sizeof out->seeds);
    out->nseeds = a->nseeds;
    buf_reset(&out->ca);
    buf_reset(&out->certificate);
    buf_reset(&out->key);
    buf_put_span(&out->ca, a->ca);
    buf_put_span(&out->certificate, a->certificate);
    buf_put_span(&out->key, buf_span(&k->key));
    int err = buf_err(&out->ca) != 0 ? buf_err(&out->ca) : buf_err(&out->certificate);
    return err != 0 ? err : buf_err(&out->key);
}

/* ---- asking -------------------------------------------------------------------------------------------- */

static enum outcome failed(int err)
{
    return err == ERR_DENIED || err == ERR_BAD || err == ERR_LIMIT ? NEVER : AGAIN;
}

/* One exchange. `next` gets where it was sent on to, or "". */
static enum outcome ask_once(struct ask *k, const char *address, char next[128], struct buf *why)
{
    struct buf request, answer;
    buf_init(&request, TRANSPORT_JOIN_MAX);
    buf_init(&answer, TRANSPORT_JOIN_MAX);
    int64_t deadline_ms = clock_boot_ms() + DIAL_MS;
    if (deadline_ms > k->deadline_ms)
        deadline_ms = k->deadline_ms;
    k->request.wall_ms = clock_wall_ms();
    next[0] = '\0';
    struct join_answer_decoded *d = NULL;
    enum outcome outcome = AGAIN;
    int err = join_request_encode(&k->request, &request);
    if (err == 0)
        err = join_dial(address, k->token->ca_sha256, deadline_ms, buf_span(&request), &answer, why);
    else
        buf_put_str(why, err_text(err));
    if (err != 0) {
        outcome = failed(err);
    } else if (buf_printf(why, "%s: ", address),
               (err = join_answer_decode(buf_span(&answer), &d, why)) != 0) {
        outcome = failed(err);
    } else {
        const struct join_answer *a = join_answer_of(d);
        const char *wrong = a->ok ? check_answer(k, a) : NULL;
        if (wrong != NULL) {
            buf_put_str(why, wrong);
            outcome = NEVER;
        } else if (a->ok) {
            err = fill(k, a, k->out);
            buf_put_str(why, err_text(err));
            outcome = err == 0 ? DONE : NEVER;
        } else {
            text_put_log(why, span_str(a->words));
            memcpy(next, a->try_address, sizeof a->try_address);
            outcome = a->retry || next[0] != '\0' ? AGAIN : REFUSED;
        }
    }
    join_answer_free(d);
    identity_wipe(&request);
    identity_wipe(&answer);
    buf_fini(&request);
    buf_fini(&answer);
    return outcome;
}

/* One of the token's addresses, and where it sends us. */
static enum outcome ask_address(struct ask *k, const char *address, struct buf *why)
{
    char at[128], next[128];
    snprintf(at, sizeof at, "%s", address);
    for (int hop = 0;; hop++) {
        buf_reset(why);
        enum outcome outcome = ask_once(k, at, next, why);
        if (hop > 0 && outcome != DONE)
            buf_printf(why, " (asked because %s named it)", address);
        if (next[0] == '\0')
            return outcome;
        if (hop == HOPS_MAX) {
            buf_reset(why);
            buf_printf(why, "%s: the nodes send from one to another: there may be no leader just now",
                       address);
            return AGAIN;
        }
        memcpy(at, next, sizeof at);
    }
}

/* Rounds over the addresses; what each said last is in `lines`. */
static int ask_all(struct ask *k, struct buf lines[], struct buf *said, struct buf *why)
{
    bool given_up[sizeof k->token->addresses / sizeof *k->token->addresses] = { 0 };
    for (;;) {
        uint32_t hopeful = 0;
        for (uint32_t i = 0; i < k->token->naddresses; i++) {
            if (given_up[i])
                continue;
            if (clock_boot_ms() >= k->deadline_ms)
                return ERR_TIMEOUT;
            enum outcome outcome = ask_address(k, k->token->addresses[i], said);
            /* that there was no time for a last try says less than what the one before it found */
            if (lines[i].len == 0 || clock_boot_ms() < k->deadline_ms) {
                buf_reset(&lines[i]);
                buf_put_span(&lines[i], buf_span(said));
            }
            if (outcome == DONE)
                return 0;
            if (outcome == REFUSED) {
                buf_put_str(why, "the cluster refuses: ");
                buf_put_span(why, buf_span(said));
                return ERR_DENIED;
            }
            given_up[i] = outcome == NEVER;
            hopeful += outcome == AGAIN;
        }
        if (hopeful == 0)
            return ERR_FAILED;
        if (clock_boot_ms() + PAUSE_MS >= k->deadline_ms)
            return ERR_TIMEOUT;
        poll(NULL, 0, PAUSE_MS);
    }
}

static int prepare(struct ask *k, const char *name, const char *raft_address, const char *gossip_address,
                   const char *version, struct buf *why)
{
    struct join_request *r = &k->request;
    if (!field_name_ok(span_str(name)))
        return buf_put_str(why, "the node's name is not one: letters, digits, '.', '-' and '_', 63 at most"),
               ERR_BAD;
    if (!field_address_ok(span_str(raft_address)) || !field_address_ok(span_str(gossip_address)))
        return buf_put_str(why, "the node's own cluster addresses are missing or wrong (host:port)"), ERR_BAD;
    if (k->token->naddresses == 0)
        return buf_put_str(why, "the token names no address where to ask: make another"), ERR_BAD;
    memcpy(r->token_id, k->token->id, sizeof r->token_id);
    memcpy(r->secret, k->token->secret, sizeof r->secret);
    snprintf(r->name, sizeof r->name, "%s", name);
    snprintf(r->raft_address, sizeof r->raft_address, "%s", raft_address);
    snprintf(r->gossip_address, sizeof r->gossip_address, "%s", gossip_address);
    snprintf(r->version, sizeof r->version, "%s", version);
    int err = ca_make_request(name, &k->key, &k->certificate_request);
    r->certificate_request = buf_span(&k->certificate_request);
    return err == 0 ? 0 : (buf_put_str(why, "OpenSSL made no key"), err);
}

int join_ask(const struct join_token *t, const char *name, const char *raft_address,
             const char *gossip_address, const char *version, uint32_t features, int64_t timeout_ms,
             struct identity *out, struct buf *why)
{
    struct ask k = { .token = t, .deadline_ms = clock_boot_ms() + timeout_ms, .out = out };
    struct buf lines[sizeof t->addresses / sizeof *t->addresses];
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        buf_init(&lines[i], 2048);
    struct buf said;
    buf_init(&said, 2048);
    buf_init(&k.key, FIELD_PEM_MAX);
    buf_init(&k.certificate_request, FIELD_PEM_MAX);
    k.request.features = features;
    int err = prepare(&k, name, raft_address, gossip_address, version, why);
    bool asked = err == 0;
    if (asked)
        err = ask_all(&k, lines, &said, why);
    for (uint32_t i = 0; asked && err != 0 && err != ERR_DENIED && i < t->naddresses; i++) {
        if (lines[i].len > 0)
            buf_printf(why, "%s%.*s", why->len > 0 ? "\n" : "", (int)lines[i].len, lines[i].data);
    }
    if (err == ERR_TIMEOUT && why->len == 0)
        buf_put_str(why, "no time was left to ask");
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        buf_fini(&lines[i]);
    buf_fini(&said);
    identity_wipe(&k.key);
    buf_fini(&k.key);
    buf_fini(&k.certificate_request);
    OPENSSL_cleanse(&k.request, sizeof k.request);
    return err;
}
