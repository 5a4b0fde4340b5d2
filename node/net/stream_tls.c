/* TLS on a stream. OpenSSL reads records from the bytes that were just read (or were kept during a pause) and
 * writes records into the stream's output, through a BIO of ours that copies nothing else. One loop's thread.
 */
#include "node/net/stream_impl.h"

#include "base/ensure.h"
#include "base/err.h"

#include <errno.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

static BIO_METHOD *bio_method;
static pthread_once_t bio_once = PTHREAD_ONCE_INIT;

static int bio_read(BIO *bio, char *out, int cap)
{
    struct stream_tls *tls = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (tls->unread.n == 0) {
        BIO_set_retry_read(bio);
        return -1;
    }
    size_t n = tls->unread.n < (size_t)cap ? tls->unread.n : (size_t)cap;
    memcpy(out, tls->unread.p, n);
    tls->unread = span_sub(tls->unread, n);
    return (int)n;
}

static int bio_write(BIO *bio, const char *p, int n)
{
    struct stream_tls *tls = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    /* full only when the peer makes us answer and takes no answers */
    return buf_put(tls->sealed, p, (size_t)n) == 0 ? n : -1;
}

static long bio_ctrl(BIO *bio, int cmd, long num, void *ptr)
{
    (void)bio, (void)num, (void)ptr;
    return cmd == BIO_CTRL_FLUSH ? 1 : 0;
}

static int bio_create(BIO *bio)
{
    BIO_set_init(bio, 1);
    return 1;
}

static void bio_make(void)
{
    bio_method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "stream");
    if (bio_method == NULL)
        return;
    BIO_meth_set_read(bio_method, bio_read);
    BIO_meth_set_write(bio_method, bio_write);
    BIO_meth_set_ctrl(bio_method, bio_ctrl);
    BIO_meth_set_create(bio_method, bio_create);
}

void stream_tls_free(struct stream_tls *tls)
{
    if (tls == NULL)
        return;
    SSL_free(tls->ssl);
    buf_fini(&tls->kept);
    if (tls->plain.data != NULL)
        OPENSSL_cleanse(tls->plain.data, tls->plain.cap);
    buf_fini(&tls->plain);
    free(tls);
}

/* Takes ssl, also on failure. */
static int start(struct stream *s, SSL *ssl, uint32_t timeout_ms)
{
    pthread_once(&bio_once, bio_make);
    struct stream_tls *tls = calloc(1, sizeof *tls);
    BIO *bio = bio_method == NULL || tls == NULL || ssl == NULL ? NULL : BIO_new(bio_method);
    if (bio == NULL) {
        free(tls);
        SSL_free(ssl);
        return ERR_FAILED;
    }
    BIO_set_data(bio, tls);
    SSL_set_bio(ssl, bio, bio);
    tls->ssl = ssl;
    tls->sealed = &s->out;
    tls->stepping = true;
    buf_init(&tls->kept, STREAM_IN_MAX);
    buf_init(&tls->plain, STREAM_OUT_MAX);
    s->tls = tls;
    /* CVE-2011-0411: what came in the clear must not be taken for what comes inside TLS */
    if (s->dispatching)
        s->discard = true;
    else
        buf_reset(&s->in);
    s->paused = s->resumed = false;
    timer_set(&s->timer, timeout_ms);
    stream_read_on(s);
    stream_ready(s);
    return 0;
}

static int may_start(const struct stream *s)
{
    if (s->state != STREAM_OPEN || s->write_err != 0)
        return ERR_CLOSED;
    return s->tls != NULL ? ERR_EXISTS : 0;
}

int stream_tls_server(struct stream *s, struct tls_server *server, uint32_t timeout_ms)
{
    int err = may_start(s);
    return err != 0 ? err : start(s, tls_server_ssl(server), timeout_ms);
}

int stream_tls_server_with(struct stream *s, struct tls_server *server, uint32_t timeout_ms, const char *p,
                           size_t n)
{
    int err = stream_tls_server(s, server, timeout_ms);
    return err != 0 || n == 0 ? err : stream_tls_keep(s, p, n);
}

int stream_tls_client(struct stream *s, struct tls_client *client, const struct tls_peer *peer,
                      uint32_t timeout_ms)
{
    int err = may_start(s);
    return err != 0 ? err : start(s, tls_client_ssl(client, peer), timeout_ms);
}

void stream_tls_fail(struct stream *s, int err, const char *why)
{
    if (s->state != STREAM_OPEN)
        return;
    s->tls->stepping = false;
    if (s->ops->on_tls != NULL)
        s->ops->on_tls(s->ctx, false, why);
    if (s->state == STREAM_OPEN)
        stream_linger(s, err, ALERT_FLUSH_MS);
}

/* One line on why the handshake failed. */
static void explain(struct stream_tls *tls, struct buf *why)
{
    unsigned long e = ERR_peek_last_error();
    bool judged = ERR_GET_LIB(e) == ERR_LIB_SSL && ERR_GET_REASON(e) == SSL_R_CERTIFICATE_VERIFY_FAILED;
    tls_error_line(NULL, why);
    if (judged)
        buf_printf(why, ": %s", X509_verify_cert_error_string(SSL_get_verify_result(tls->ssl)));
}

/* True when the handshake is over and the session was told. */
static bool handshake(struct stream *s)
{
    struct stream_tls *tls = s->tls;
    tls->stepping = false;
    ERR_clear_error();
    int r = SSL_do_handshake(tls->ssl);
    if (r == 1) {
        tls->done = true;
        if (s->write_err == 0)
            timer_stop(&s->timer);
        tls_info_get(tls->ssl, &tls->info);
        stream_ready(s);
        if (s->ops->on_tls != NULL)
            s->ops->on_tls(s->ctx, true, "");
        return s->state == STREAM_OPEN;
    }
    int kind = SSL_get_error(tls->ssl, r);
    if (kind == SSL_ERROR_WANT_READ) {
        stream_ready(s);
        return false;
    }
    struct buf why;
    buf_init(&why, 512);
    explain(tls, &why);
    buf_put_char(&why, '\0');
    stream_tls_fail(s, ERR_FAILED, why.len > 0 ? why.data : "TLS handshake failed");
    buf_fini(&why);
    return false;
}

/* Decrypts and delivers until there is no whole record left, or the session pauses or ends. */
static void open_records(struct stream *s)
{
    struct stream_tls *tls = s->tls;
    while (s->state == STREAM_OPEN && !s->paused) {
        ERR_clear_error();
        int n = SSL_read(tls->ssl, s->sl->plain_buf, PLAIN_BYTES);
        if (n > 0) {
            stream_deliver(s, s->sl->plain_buf, (size_t)n);
            continue;
        }
        int kind = SSL_get_error(tls->ssl, n);
        if (kind == SSL_ERROR_ZERO_RETURN) { /* close_notify: the peer's end, whatever TCP still brings */
            s->peer_ended = true;
            stream_peer_ended(s);
        } else if (kind != SSL_ERROR_WANT_READ) {
            /* the alert that OpenSSL wrote should still leave */
            stream_linger(s, ERR_FAILED, ALERT_FLUSH_MS);
        }
        break;
    }
    if (s->state == STREAM_OPEN && s->out.len > 0)
        stream_ready(s);
}

static void pump(struct stream *s)
{
    if (!s->tls->done && !handshake(s))
        return;
    open_records(s);
}

void stream_tls_pump(struct stream *s)
{
    struct stream_tls *tls = s->tls;
    tls->unread = buf_span(&tls->kept);
    pump(s);
    buf_consume(&tls->kept, tls->kept.len - tls->unread.n);
    tls->unread = (struct span){ 0 };
    buf_shrink(&tls->kept, 0);
}

int stream_tls_keep(struct stream *s, const char *p, size_t n)
{
    int err = buf_put(&s->tls->kept, p, n);
    if (err != 0)
        stream_close(s, err);
    return err;
}

void stream_tls_feed(struct stream *s, const char *p, size_t n)
{
    struct stream_tls *tls = s->tls;
    if (tls->kept.len > 0) {
        if (stream_tls_keep(s, p, n) == 0)
            stream_tls_pump(s);
        return;
    }
    tls->unread = span_of(p, n);
    pump(s);
    struct span left = tls->unread;
    tls->unread = (struct span){ 0 };
    if (left.n > 0 && s->state == STREAM_OPEN)
        stream_tls_keep(s, left.p, left.n);
}

static int seal(SSL *ssl, const char *p, size_t n)
{
    while (n > 0) {
        ERR_clear_error();
        int wrote = SSL_write(ssl, p, n > PLAIN_BYTES ? (int)PLAIN_BYTES : (int)n);
        if (wrote <= 0)
            return ERR_FAILED;
        p += wrote;
        n -= (size_t)wrote;
    }
    return 0;
}

int stream_tls_seal(struct stream *s, const void *p, size_t n)
{
    struct stream_tls *tls = s->tls;
    int err = seal(tls->ssl, tls->plain.data, tls->plain.len);
    buf_reset(&tls->plain);
    buf_shrink(&tls->plain, KEEP_BYTES);
    return err != 0 ? err : seal(tls->ssl, p, n);
}

void stream_tls_shutdown(struct stream *s)
{
    struct stream_tls *tls = s->tls;
    if (!tls->done || s->write_err != 0)
        return;
    ERR_clear_error();
    if (stream_tls_seal(s, NULL, 0) == 0)
        SSL_shutdown(tls->ssl);
    ERR_clear_error();
}
