/* One exchange of a joiner with one node. Blocking, but never for longer than its deadline: the socket does
 * not block, poll does. (Looking up a host's name has the resolver's own limit.) */
#include "node/cluster/join_dial.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/text.h"
#include "consensus/transport.h"
#include "node/cluster/ca_impl.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

struct dial {
    const char *address;
    const uint8_t *ca_sha256;
    int64_t deadline_ms;
    struct buf *why;
    int fd;
    SSL_CTX *ctx;
    SSL *ssl;
    /* what the certificate check found */
    bool other_cluster;
    char certificate_words[192];
};

static int say(struct dial *d, int err, const char *words)
{
    buf_printf(d->why, "%s: %s", d->address, words);
    return err;
}

static int wait_for(struct dial *d, short events)
{
    for (;;) {
        int64_t left_ms = d->deadline_ms - clock_boot_ms();
        if (left_ms <= 0)
            return ERR_TIMEOUT;
        struct pollfd p = { .fd = d->fd, .events = events };
        int n = poll(&p, 1, left_ms > 60000 ? 60000 : (int)left_ms);
        if (n > 0)
            return 0;
        if (n < 0 && errno != EINTR)
            return -errno;
    }
}

/* ---- TCP ----------------------------------------------------------------------------------------------- */

static int connect_to(struct dial *d, const struct addrinfo *to)
{
    d->fd = socket(to->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (d->fd < 0)
        return -errno;
    int on = 1;
    setsockopt(d->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    int err = connect(d->fd, to->ai_addr, to->ai_addrlen) == 0 ? 0 : -errno;
    if (err == -EINPROGRESS && (err = wait_for(d, POLLOUT)) == 0) {
        socklen_t len = sizeof err;
        getsockopt(d->fd, SOL_SOCKET, SO_ERROR, &err, &len);
        err = -err;
    }
    if (err != 0) {
        close(d->fd);
        d->fd = -1;
    }
    return err;
}

static int reach(struct dial *d)
{
    char host[128], service[8];
    struct span name;
    uint16_t port;
    if (text_host_port(span_str(d->address), &name, &port) != 0 || name.n >= sizeof host)
        return say(d, ERR_FAILED, "not an address (host:port)");
    memcpy(host, name.p, name.n);
    host[name.n] = '\0';
    struct addrinfo *list = NULL, hints = { .ai_socktype = SOCK_STREAM };
    snprintf(service, sizeof service, "%u", port);
    int gai = getaddrinfo(host, service, &hints, &list);
    if (gai != 0) {
        buf_printf(d->why, "%s: %s has no address: %s", d->address, host, gai_strerror(gai));
        return gai == EAI_AGAIN ? ERR_TIMEOUT : ERR_CLOSED;
    }
    int err = ERR_CLOSED;
    for (struct addrinfo *a = list; a != NULL && d->fd < 0 && err != ERR_TIMEOUT; a = a->ai_next)
        err = connect_to(d, a);
    freeaddrinfo(list);
    if (err == ERR_TIMEOUT || err == -ETIMEDOUT)
        return say(d, ERR_TIMEOUT,
                   "no answer: is the machine up, and does a firewall let this port through?");
    if (err == -ECONNREFUSED)
        return say(d, err, "connection refused: does turnpiked run there, and is this its cluster address?");
    return err == 0 ? 0 : say(d, err, err_text(err));
}

/* ---- TLS ----------------------------------------------------------------------------------------------- */

static void time_text(const ASN1_TIME *t, char out[32])
{
    struct tm tm = { 0 };
    if (ASN1_TIME_to_tm(t, &tm) != 1 || strftime(out, 32, "%Y-%m-%d %H:%M UTC", &tm) == 0)
        out[0] = '\0';
}

/* The pinned authority must be in the chain, and the certificate of it, and good now. */
static int judge(X509_STORE_CTX *store, void *arg)
{
    struct dial *d = arg;
    X509 *leaf = X509_STORE_CTX_get0_cert(store);
    STACK_OF(X509) *chain = X509_STORE_CTX_get0_untrusted(store);
    X509 *ca = NULL;
    for (int i = 0; i < sk_X509_num(chain) && ca == NULL; i++) {
        uint8_t sha256[EVP_MAX_MD_SIZE];
        unsigned n = 0;
        X509 *x = sk_X509_value(chain, i);
        if (X509_digest(x, EVP_sha256(), sha256, &n) == 1 && n == 32 && memcmp(sha256, d->ca_sha256, 32) == 0)
            ca = x;
    }
    int64_t now_ms = clock_wall_ms();
    const char *why = "";
    if (ca != NULL && leaf != NULL && ca_check(ca, leaf, now_ms, &why) == 0) {
        X509_STORE_CTX_set_error(store, X509_V_OK);
        return 1;
    }
    d->other_cluster = ca == NULL;
    if (ca != NULL) {
        char from[32], to[32], now[32];
        time_t now_s = (time_t)(now_ms / 1000);
        struct tm tm;
        time_text(X509_get0_notBefore(leaf), from);
        time_text(X509_get0_notAfter(leaf), to);
        strftime(now, sizeof now, "%Y-%m-%d %H:%M UTC", gmtime_r(&now_s, &tm));
        snprintf(d->certificate_words, sizeof d->certificate_words,
                 "%s: its certificate is for %s to %s, and this machine's clock says %s: is the clock right?",
                 why, from, to, now);
    }
    X509_STORE_CTX_set_error(store, X509_V_ERR_CERT_UNTRUSTED);
    return 0;
}

/* After a call of OpenSSL that gave `r`: 0: it may be repeated. */
static int resume(struct dial *d, int r)
{
    switch (SSL_get_error(d->ssl, r)) {
    case SSL_ERROR_WANT_READ:
        return wait_for(d, POLLIN);
    case SSL_ERROR_WANT_WRITE:
        return wait_for(d, POLLOUT);
    case SSL_ERROR_ZERO_RETURN:
        return ERR_CLOSED;
    case SSL_ERROR_SYSCALL:
        return ERR_CLOSED;
    default:
        return ERR_GET_REASON(ERR_peek_last_error()) == SSL_R_UNEXPECTED_EOF_WHILE_READING ? ERR_CLOSED
                                                                                           : ERR_FAILED;
    }
}

static int handshake(struct dial *d)
{
    static const unsigned char alpn[] = "\x0fturnpike-join/1";
    d->ctx = SSL_CTX_new(TLS_client_method());
    if (d->ctx == NULL || SSL_CTX_set_min_proto_version(d->ctx, TLS1_3_VERSION) != 1 ||
        SSL_CTX_set_alpn_protos(d->ctx, alpn, sizeof alpn - 1) != 0)
        return say(d, ERR_FAILED, "OpenSSL failed");
    SSL_CTX_set_verify(d->ctx, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_cert_verify_callback(d->ctx, judge, d);
    d->ssl = SSL_new(d->ctx);
    if (d->ssl == NULL || SSL_set_fd(d->ssl, d->fd) != 1)
        return say(d, ERR_FAILED, "OpenSSL failed");
    int r, err = 0;
    do {
        ERR_clear_error();
        r = SSL_connect(d->ssl);
    } while (r != 1 && (err = resume(d, r)) == 0);
    const unsigned char *chosen = NULL;
    unsigned n = 0;
    if (r == 1) {
        SSL_get0_alpn_selected(d->ssl, &chosen, &n);
        if (n == sizeof alpn - 2 && memcmp(chosen, alpn + 1, n) == 0)
            return 0;
        return say(d, ERR_FAILED,
                   "what answers there takes no requests to join: is this a node's cluster address?");
    }
    if (d->other_cluster) {
        buf_printf(d->why, "the node at %s is not of the cluster that this token is for", d->address);
        return ERR_DENIED;
    }
    if (d->certificate_words[0] != '\0')
        return say(d, ERR_FAILED, d->certificate_words);
    if (err == ERR_TIMEOUT)
        return say(d, err, "it took the connection and then said nothing");
    if (err == ERR_CLOSED)
        return say(d, err,
                   "it closed the connection at once: it may be busy, or not be a node's cluster address");
    const char *words = ERR_reason_error_string(ERR_peek_last_error());
    buf_printf(d->why, "%s: what answers there is not a node's cluster address (%s)", d->address,
               words == NULL ? "TLS failed" : words);
    return ERR_FAILED;
}

static int write_all(struct dial *d, const void *p, size_t n)
{
    int r, err;
    do {
        ERR_clear_error();
        r = SSL_write(d->ssl, p, (int)n); /* all or nothing: partial writes are off */
        if (r > 0)
            return 0;
        err = resume(d, r);
    } while (err == 0);
    return err;
}

static int read_all(struct dial *d, void *p, size_t n)
{
    size_t got = 0;
    while (got < n) {
        ERR_clear_error();
        int r = SSL_read(d->ssl, (char *)p + got, (int)(n - got));
        int err = r > 0 ? 0 : resume(d, r);
        if (err != 0)
            return err;
        got += r > 0 ? (size_t)r : 0;
    }
    return 0;
}

static int exchange(struct dial *d, struct span request, struct buf *answer)
{
    uint8_t head[4] = { (uint8_t)request.n, (uint8_t)(request.n >> 8), (uint8_t)(request.n >> 16), 0 };
    if (request.n == 0 || request.n > TRANSPORT_JOIN_MAX)
        return ERR_LIMIT;
    int err = write_all(d, head, sizeof head);
    if (err == 0)
        err = write_all(d, request.p, request.n);
    if (err == 0)
        err = read_all(d, head, sizeof head);
    size_t n = (size_t)head[0] | (size_t)head[1] << 8 | (size_t)head[2] << 16 | (size_t)head[3] << 24;
    if (err == 0 && (n == 0 || n > TRANSPORT_JOIN_MAX))
        err = ERR_BAD;
    if (err == 0)
        err = buf_reserve(answer, n);
    if (err == 0)
        err = read_all(d, answer->data, n);
    if (err == 0)
        answer->len = n;
    return err;
}

int join_dial(const char *address, const uint8_t ca_sha256[32], int64_t deadline_ms, struct span request,
              struct buf *answer, struct buf *why)
{
    struct dial d = {
        .address = address, .ca_sha256 = ca_sha256, .deadline_ms = deadline_ms, .why = why, .fd = -1
    };
    buf_reset(answer);
    ERR_clear_error();
    int err = reach(&d);
    if (err == 0)
        err = handshake(&d);
    if (err == 0) {
        err = exchange(&d, request, answer);
        if (err == ERR_TIMEOUT)
            say(&d, err, "it took the request and did not answer in time");
        else if (err == ERR_CLOSED || err == ERR_FAILED)
            say(&d, err = ERR_CLOSED, "it closed the connection before it had answered");
        else if (err != 0)
            say(&d, err, "its answer makes no sense");
        else
            SSL_shutdown(d.ssl);
    }
    SSL_free(d.ssl);
    SSL_CTX_free(d.ctx);
    if (d.fd >= 0)
        close(d.fd);
    ERR_clear_error();
    return err;
}
