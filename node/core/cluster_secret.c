/* The admin API's functions on the cluster's random secrets (secrets.h). Admin threads. A secret is encrypted
 * here, before it becomes a command; it comes in with an import, and never goes out.
 */
#include "base/clock.h"
#include "base/err.h"
#include "node/cluster/seal.h"
#include "node/core/cluster_impl.h"
#include "node/core/secrets.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define MADE_BYTES 32
#define MADE_TEXT (4 * ((MADE_BYTES + 2) / 3) + 1) /* base64 */
#define NAME_MAX_BYTES 63

_Static_assert(MADE_TEXT <= SECRET_BYTES_MAX, "it is text");

struct tally_of {
    struct span use;
    uint32_t n;
};

static int count_cb(void *arg, const struct directory_sealed *d)
{
    struct tally_of *t = arg;
    t->n += d->kind == COMMAND_SEALED_SECRET && span_eq(d->name, t->use);
    return d->kind > COMMAND_SEALED_SECRET;
}

/* How many of this use the state has. */
static uint32_t count(struct cluster *c, struct span use)
{
    static const char from[] = { COMMAND_SEALED_SECRET };
    struct tally_of t = { .use = use };
    struct machine *m = cluster_machine(c);
    machine_read_lock(m);
    (void)directory_sealed_each(m, span_of(from, sizeof from), count_cb, &t);
    machine_read_unlock(m);
    return t.n;
}

static bool text_good(const char *text)
{
    size_t n = strlen(text);
    for (size_t i = 0; i < n; i++)
        if (text[i] < ' ' || text[i] > '~')
            return false;
    return n >= SECRET_BYTES_MIN && n <= SECRET_BYTES_MAX;
}

static bool name_good(const char *name)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789-_.";
    size_t n = strlen(name);
    return n > 0 && n <= NAME_MAX_BYTES && strspn(name, letters) == n;
}

/* ERR_FAILED. */
static int make(char out[MADE_TEXT])
{
    unsigned char bytes[MADE_BYTES];
    if (RAND_priv_bytes(bytes, sizeof bytes) != 1)
        return ERR_FAILED;
    EVP_EncodeBlock((unsigned char *)out, bytes, sizeof bytes);
    OPENSSL_cleanse(bytes, sizeof bytes);
    return 0;
}

static const char *name_now(char out[NAME_MAX_BYTES + 1])
{
    int64_t now_ms = clock_wall_ms();
    time_t now = (time_t)(now_ms / 1000);
    struct tm tm = { 0 };
    size_t n = gmtime_r(&now, &tm) == NULL ? 0 : strftime(out, NAME_MAX_BYTES, "%Y%m%d-%H%M%S", &tm);
    snprintf(out + n, NAME_MAX_BYTES + 1 - n, ".%03d", (int)(now_ms % 1000));
    return out;
}

static int submit(void *ctx, const struct admin_caller *by, struct span use, const char *name,
                  const char *text, struct admin_error *e)
{
    char about[CLUSTER_SEAL_ABOUT_MAX];
    struct seal_key key;
    struct machine_result r;
    struct buf sealed;
    int err = cluster_sealing_key(ctx, by, &key, e);
    if (err != 0)
        return err;
    buf_init(&sealed, COMMAND_SEALED_MAX);
    struct span what = cluster_seal_about(COMMAND_SEALED_SECRET, use, span_str(name), about);
    err = seal_put(&key, what, span_str(text), &sealed);
    struct command cmd = { .type = COMMAND_SEALED_SET,
                           .sealed_set = { .kind = COMMAND_SEALED_SECRET,
                                           .name = use,
                                           .selector = span_str(name),
                                           .create = true,
                                           .number = key.number,
                                           .sealed = buf_span(&sealed),
                                           .public = { "", 0 },
                                           .tenants = { "", 0 },
                                           .not_before_ms = (uint64_t)clock_wall_ms() } };
    err = err != 0 ? admin_fail(e, err, "the secret cannot be encrypted: %s", err_text(err))
                   : cluster_submit(ctx, by, &cmd, &r, e);
    OPENSSL_cleanse(&key, sizeof key);
    buf_fini(&sealed);
    return err;
}

int cluster_secret_add(void *ctx, const struct admin_caller *by, const char *use, const char *name,
                       const char *text, struct buf *named, struct admin_error *e)
{
    char made[MADE_TEXT], now[NAME_MAX_BYTES + 1];
    struct cluster *c = cluster_of(ctx);
    int err = cluster_need(c, e);
    if (err == 0 && secret_use_of(span_str(use)) == SECRET_USES)
        err = admin_fail(e, ERR_BAD, "secrets are for bounces, domains, srs and webhooks, not for %s", use);
    if (err == 0 && name != NULL && !name_good(name))
        err = admin_fail(e, ERR_BAD, "name: 1 to %d lower-case letters, digits, -, _ and .", NAME_MAX_BYTES);
    if (err == 0 && text != NULL && !text_good(text))
        err = admin_fail(e, ERR_BAD, "a secret has %d to %d printable characters", SECRET_BYTES_MIN,
                         SECRET_BYTES_MAX);
    if (err == 0)
        err = cluster_barrier(ctx, e);
    uint32_t most =
        secret_use_of(span_str(use)) == SECRET_WEBHOOKS ? SECRETS_WEBHOOKS_MAX : SECRETS_EACH_MAX;
    if (err == 0 && count(c, span_str(use)) >= most)
        err = admin_fail(e, ERR_LIMIT, "there are %u secrets for %s: remove the oldest (turnpike secret list)",
                         most, use);
    if (err == 0 && text == NULL && make(made) != 0)
        err = admin_fail(e, ERR_FAILED, "the secret cannot be made");
    if (err != 0)
        return err;
    name = name != NULL ? name : name_now(now);
    err = submit(ctx, by, span_str(use), name, text != NULL ? text : made, e);
    OPENSSL_cleanse(made, sizeof made);
    return err != 0 ? err : buf_put_str(named, name);
}

int cluster_secret_ensure(void *ctx, const struct admin_caller *by, const char *use, struct admin_error *e)
{
    struct cluster *c = cluster_of(ctx);
    struct buf named;
    int err = cluster_need(c, e);
    if (err == 0)
        err = cluster_barrier(ctx, e);
    if (err != 0 || count(c, span_str(use)) > 0)
        return err;
    buf_init(&named, NAME_MAX_BYTES + 1);
    err = cluster_secret_add(ctx, by, use, NULL, NULL, &named, e);
    buf_fini(&named);
    return err;
}

bool cluster_secret_closed(void *ctx, const char *use)
{
    struct cluster *c = cluster_of(ctx);
    struct secrets *s = c == NULL ? NULL : cluster_secrets(c);
    bool closed = secrets_closed(s, secret_use_of(span_str(use)));
    secrets_rele(s);
    return closed;
}
