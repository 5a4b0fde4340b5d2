/* The certificate of the admin API on TCP. A handshake gets pointers, and GnuTLS does not say when it is done
 * with them: what was replaced is kept until KEPT later ones came, and then freed.
 */
#include "node/admin/tls.h"

#include "base/ensure.h"
#include "base/err.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#define CHAIN_MAX 8
#define KEPT 8

struct pair {
    gnutls_pcert_st chain[CHAIN_MAX];
    unsigned int n;
    gnutls_privkey_t key;
};

struct tls {
    struct pair *pairs[KEPT]; /* the newest first */
};

/* Read by handshakes on connections' threads, changed by the main thread. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct tls *serving;

static void pair_free(struct pair *p)
{
    if (p == NULL)
        return;
    for (unsigned int i = 0; i < p->n; i++)
        gnutls_pcert_deinit(&p->chain[i]);
    if (p->key != NULL)
        gnutls_privkey_deinit(p->key);
    free(p);
}

static int read_chain(struct pair *p, const char *file, struct admin_error *e)
{
    gnutls_datum_t text;
    gnutls_x509_crt_t *list = NULL;
    unsigned int n = 0;
    int err = gnutls_load_file(file, &text);
    if (err < 0)
        return admin_fail(e, ERR_BAD, "%s: %s", file, gnutls_strerror(err));
    err = gnutls_x509_crt_list_import2(&list, &n, &text, GNUTLS_X509_FMT_PEM,
                                       GNUTLS_X509_CRT_LIST_FAIL_IF_UNSORTED);
    gnutls_free(text.data);
    if (err < 0)
        return admin_fail(e, ERR_BAD, "%s: %s", file, gnutls_strerror(err));
    for (unsigned int i = 0; i < n; i++) {
        if (err >= 0 && i < CHAIN_MAX && (err = gnutls_pcert_import_x509(&p->chain[i], list[i], 0)) >= 0)
            p->n++;
        gnutls_x509_crt_deinit(list[i]);
    }
    gnutls_free(list);
    if (err < 0)
        return admin_fail(e, ERR_BAD, "%s: %s", file, gnutls_strerror(err));
    return n <= CHAIN_MAX ? 0 : admin_fail(e, ERR_BAD, "%s has more than %d certificates", file, CHAIN_MAX);
}

static int read_key(struct pair *p, const char *file, struct admin_error *e)
{
    gnutls_datum_t text;
    int err = gnutls_load_file(file, &text);
    if (err < 0)
        return admin_fail(e, ERR_BAD, "%s: %s", file, gnutls_strerror(err));
    err = gnutls_privkey_init(&p->key);
    if (err >= 0)
        err = gnutls_privkey_import_x509_raw(p->key, &text, GNUTLS_X509_FMT_PEM, NULL, 0);
    gnutls_memset(text.data, 0, text.size);
    gnutls_free(text.data);
    return err >= 0 ? 0 : admin_fail(e, ERR_BAD, "%s: %s", file, gnutls_strerror(err));
}

/* Is the key that of the first certificate? */
static int check_pair(struct pair *p, const char *file, struct admin_error *e)
{
    unsigned char ids[2][64];
    size_t n[2] = { sizeof ids[0], sizeof ids[1] };
    gnutls_pubkey_t public;
    int err = gnutls_pubkey_init(&public);
    if (err < 0)
        return admin_fail(e, -ENOMEM, "out of memory");
    err = gnutls_pubkey_import_privkey(public, p->key, 0, 0);
    if (err >= 0)
        err = gnutls_pubkey_get_key_id(public, GNUTLS_KEYID_USE_SHA256, ids[0], &n[0]);
    if (err >= 0)
        err = gnutls_pubkey_get_key_id(p->chain[0].pubkey, GNUTLS_KEYID_USE_SHA256, ids[1], &n[1]);
    gnutls_pubkey_deinit(public);
    if (err < 0)
        return admin_fail(e, ERR_BAD, "%s: %s", file, gnutls_strerror(err));
    return n[0] == n[1] && memcmp(ids[0], ids[1], n[0]) == 0
               ? 0
               : admin_fail(e, ERR_BAD, "%s is not the key of admin.tls's certificate", file);
}

int tls_reload(struct tls *t, const char *certificate, const char *key, struct admin_error *e)
{
    struct pair *p = calloc(1, sizeof *p);
    if (p == NULL)
        return admin_fail(e, -ENOMEM, "out of memory");
    int err = read_chain(p, certificate, e);
    if (err == 0)
        err = read_key(p, key, e);
    if (err == 0)
        err = check_pair(p, key, e);
    if (err != 0) {
        pair_free(p);
        return err;
    }
    pthread_mutex_lock(&lock);
    struct pair *oldest = t->pairs[KEPT - 1];
    memmove(&t->pairs[1], &t->pairs[0], (KEPT - 1) * sizeof t->pairs[0]);
    t->pairs[0] = p;
    pthread_mutex_unlock(&lock);
    pair_free(oldest);
    return 0;
}

int tls_new(const char *certificate, const char *key, struct tls **out, struct admin_error *e)
{
    struct tls *t = calloc(1, sizeof *t);
    if (t == NULL)
        return admin_fail(e, -ENOMEM, "out of memory");
    int err = tls_reload(t, certificate, key, e);
    if (err != 0) {
        free(t);
        return err;
    }
    pthread_mutex_lock(&lock);
    ensure(serving == NULL);
    serving = t;
    pthread_mutex_unlock(&lock);
    *out = t;
    return 0;
}

void tls_free(struct tls *t)
{
    if (t == NULL)
        return;
    pthread_mutex_lock(&lock);
    serving = NULL;
    pthread_mutex_unlock(&lock);
    for (int i = 0; i < KEPT; i++)
        pair_free(t->pairs[i]);
    free(t);
}

int tls_certificate(gnutls_session_t session, const gnutls_datum_t *req_ca_rdn, int nreqs,
                    const gnutls_pk_algorithm_t *algos, int nalgos, gnutls_pcert_st **chain,
                    unsigned int *nchain, gnutls_privkey_t *key)
{
    (void)session, (void)req_ca_rdn, (void)nreqs, (void)algos, (void)nalgos;
    pthread_mutex_lock(&lock);
    struct pair *p = serving != NULL ? serving->pairs[0] : NULL;
    pthread_mutex_unlock(&lock);
    if (p == NULL)
        return -1;
    *chain = p->chain;
    *nchain = p->n;
    *key = p->key;
    return 0;
}
