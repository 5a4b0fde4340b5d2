/* The answer to a request to join: JSON. */
#include "node/cluster/join.h"

#include "base/err.h"
#include "consensus/transport.h"
#include "node/cluster/fields.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

#define VERSION 1

struct join_answer_decoded {
    struct join_answer a;
    json_t *root; /* a.certificate and a.ca point into it */
};

static bool has_secret(const struct join_answer *a)
{
    static const uint8_t none[CA_SECRET_BYTES];
    return memcmp(a->secret, none, sizeof none) != 0;
}

static json_t *make_yes(const struct join_answer *a)
{
    char cluster[33], secret[2 * CA_SECRET_BYTES + 1];
    field_put_hex(a->self.cluster, sizeof a->self.cluster, cluster);
    json_t *root =
        json_pack("{s:i, s:b, s:s, s:I, s:I, s:i, s:s#, s:s#, s:o}", "version", VERSION, "ok", 1, "cluster",
                  cluster, "epoch", (json_int_t)a->self.epoch, "node", (json_int_t)a->self.node, "slot",
                  (int)a->slot, "certificate", a->certificate.p, (int)a->certificate.n, "ca", a->ca.p,
                  (int)a->ca.n, "seeds", field_make_seeds(a->seeds, a->nseeds));
    if (root == NULL || !has_secret(a))
        return root;
    field_put_hex(a->secret, sizeof a->secret, secret);
    int failed = json_object_set_new(root, "secret", json_string(secret));
    OPENSSL_cleanse(secret, sizeof secret);
    if (failed != 0) {
        json_decref(root);
        return NULL;
    }
    return root;
}

static bool yes_ok(const struct join_answer *a)
{
    if (a->self.epoch == 0 || a->self.node == 0 || a->self.node > FIELD_NUMBER_MAX || a->certificate.n == 0 ||
        a->certificate.n > FIELD_PEM_MAX || a->ca.n == 0 || a->ca.n > FIELD_PEM_MAX || a->nseeds > 16)
        return false;
    return field_seeds_ok(a->seeds, a->nseeds);
}

/* Only words that could not forge a line travel. */
static void printable(const char *words, char out[256])
{
    size_t n = 0;
    for (; n < 255 && words[n] != '\0'; n++)
        out[n] = words[n] < ' ' || words[n] > '~' ? '?' : words[n];
    out[n] = '\0';
}

static bool no_ok(const struct join_answer *a)
{
    return a->try_address[0] == '\0' || field_address_ok(span_str(a->try_address));
}

int join_answer_encode(const struct join_answer *a, struct buf *out)
{
    if (a->ok ? !yes_ok(a) : !no_ok(a))
        return ERR_BAD;
    char words[256];
    printable(a->words, words);
    json_t *root = a->ok ? make_yes(a)
                         : json_pack("{s:i, s:b, s:s, s:s, s:b}", "version", VERSION, "ok", 0, "words", words,
                                     "try", a->try_address, "retry", (int)a->retry);
    int err = field_put(root, JSON_COMPACT, out);
    json_decref(root);
    return err;
}

static bool read_yes(const json_t *o, struct join_answer *a)
{
    uint64_t epoch = 0, slot = 0;
    bool ok = field_hex(o, "cluster", a->self.cluster, sizeof a->self.cluster) &&
              field_u64(o, "epoch", 1, UINT32_MAX, &epoch) &&
              field_u64(o, "node", 1, FIELD_NUMBER_MAX, &a->self.node) &&
              field_u64(o, "slot", 0, UINT8_MAX, &slot) && field_pem(o, "certificate", &a->certificate) &&
              field_pem(o, "ca", &a->ca) && field_seeds(o, a->seeds, &a->nseeds);
    a->self.epoch = (uint32_t)epoch;
    a->slot = (uint8_t)slot;
    return ok &&
           (json_object_get(o, "secret") == NULL || field_hex(o, "secret", a->secret, sizeof a->secret));
}

static bool read_no(const json_t *o, struct join_answer *a)
{
    const json_t *retry = json_object_get(o, "retry");
    a->retry = json_is_true(retry);
    return json_is_boolean(retry) && field_text(o, "words", a->words, sizeof a->words) &&
           field_text(o, "try", a->try_address, sizeof a->try_address) && no_ok(a);
}

static int say(struct buf *why, const char *words)
{
    if (why != NULL)
        buf_put_str(why, words);
    return ERR_BAD;
}

int join_answer_decode(struct span bytes, struct join_answer_decoded **out, struct buf *why)
{
    *out = NULL;
    if (bytes.n > TRANSPORT_JOIN_MAX)
        return say(why, "the answer is too long");
    struct join_answer_decoded *d = calloc(1, sizeof *d);
    if (d == NULL)
        return -ENOMEM;
    d->root = json_loadb(bytes.p, bytes.n, JSON_REJECT_DUPLICATES, NULL);
    uint64_t version = 0;
    const json_t *ok = json_object_get(d->root, "ok");
    d->a.ok = json_is_true(ok);
    int err = 0;
    if (!field_u64(d->root, "version", 1, UINT32_MAX, &version) || !json_is_boolean(ok))
        err = say(why, "this is no answer to a request to join");
    else if (version != VERSION)
        err = say(why, "the answer is of another version of the program: install the cluster's");
    else if (d->a.ok ? !read_yes(d->root, &d->a) : !read_no(d->root, &d->a))
        err = say(why, "the answer is incomplete, or has values that make no sense");
    if (err != 0) {
        join_answer_free(d);
        return err;
    }
    *out = d;
    return 0;
}

const struct join_answer *join_answer_of(const struct join_answer_decoded *d)
{
    return &d->a;
}

void join_answer_free(struct join_answer_decoded *d)
{
    if (d == NULL)
        return;
    json_decref(d->root);
    OPENSSL_cleanse(d, sizeof *d);
    free(d);
}
