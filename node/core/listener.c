/* Listeners as the node knows them. */
#include "node/core/listener.h"

#include "base/err.h"
#include "node/net/stream.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <unistd.h>

#define BACKLOG 1024
#define HEADER_LINES_MAX 10000

static void smtp_config(const struct config *c, struct listener *l)
{
    const struct config_listener *cl = l->config;
    bool relay = cl->kind == CONFIG_RELAY || cl->kind == CONFIG_INBOUND; /* no AUTH */
    bool tls = cl->ntls > 0;
    l->smtp = (struct smtp_server_config){
        .kind = cl->kind == CONFIG_SUBMISSION    ? SMTP_LISTENER_SUBMISSION
                : cl->kind == CONFIG_SUBMISSIONS ? SMTP_LISTENER_SUBMISSIONS
                                                 : SMTP_LISTENER_RELAY,
        .hostname = cl->hostname,
        .max_message_bytes = cl->max_message_bytes,
        .max_rcpts = cl->max_rcpts,
        .max_messages = c->smtp.max_messages,
        .max_errors = c->smtp.max_errors,
        .max_line_bytes = 4096,
        .max_header_lines = HEADER_LINES_MAX,
        .max_body_line_bytes = c->smtp.max_line_bytes - 2, /* the setting counts CRLF */
        .offer_starttls = tls && cl->kind != CONFIG_SUBMISSIONS,
        .require_tls = cl->require_tls,
        .offer_auth = !relay,
        .require_auth = !relay,
        .auth_without_tls = cl->old_devices,
        .normalise_bare_lf = cl->old_devices,
        .offer_smtputf8 = c->smtp.smtputf8,
        .offer_requiretls = c->smtp.requiretls && !relay && !cl->old_devices,
        .allow_unqualified = !relay,
    };
}

static int load_certificates(struct listener *l, struct tls_tickets *tickets, struct buf *why)
{
    const struct config_listener *cl = l->config;
    if (cl->ntls == 0)
        return 0;
    struct tls_cert_files *certs = calloc(cl->ntls, sizeof *certs);
    if (certs == NULL)
        return -ENOMEM;
    for (uint32_t i = 0; i < cl->ntls; i++)
        certs[i] = (struct tls_cert_files){ .chain = cl->tls[i].certificate, .key = cl->tls[i].key };
    struct tls_server_config config = {
        .certs = certs, .ncerts = cl->ntls, .old_devices = cl->old_devices, .tickets = tickets
    };
    int err = tls_server_new(&config, &l->tls, why);
    free(certs);
    return err;
}

/* SO_REUSEPORT would let another node of the same user share the port, and half of the connections. */
static int address_free(const struct ip_addr *addr, uint16_t port)
{
    struct sockaddr_storage sa;
    socklen_t len = ip_to_sockaddr(addr, port, &sa);
    int yes = 1;
    int fd = socket(sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (sa.ss_family == AF_INET6)
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &yes, sizeof yes);
    int err = bind(fd, (const struct sockaddr *)&sa, len) == 0 ? 0 : -errno;
    close(fd);
    return err;
}

static int bind_sockets(struct listener *l, uint32_t nworkers, struct buf *why)
{
    struct ip_addr addr;
    uint16_t port;
    int err = ip_from_sockaddr((const struct sockaddr *)&l->config->address, &addr, &port);
    if (err == 0)
        err = address_free(&addr, port);
    for (uint32_t i = 0; err == 0 && i < nworkers; i++)
        err = stream_listen_fd(&addr, port, true, BACKLOG, &l->fds[i]);
    if (err != 0) {
        char text[IP_SOCK_TEXT_MAX];
        buf_printf(why, "listener %s: cannot listen on %s: %s", l->config->name,
                   ip_sock_format(&addr, port, text), err_text(err));
    }
    return err;
}

struct listener *listeners_same(const struct listeners *ls, const struct listener *l)
{
    struct ip_addr want, have;
    uint16_t want_port, have_port;
    if (ls == NULL || ip_from_sockaddr((const struct sockaddr *)&l->config->address, &want, &want_port) != 0)
        return NULL;
    for (uint32_t i = 0; i < ls->n; i++)
        if (ip_from_sockaddr((const struct sockaddr *)&ls->list[i].config->address, &have, &have_port) == 0 &&
            ip_addr_eq(&want, &have) && want_port == have_port)
            return &ls->list[i];
    return NULL;
}

int listeners_new(struct config *config, uint32_t nworkers, const struct listeners *old,
                  struct tls_tickets *tickets, struct listeners **out, struct buf *why)
{
    struct listeners *ls = calloc(1, sizeof *ls);
    if (ls == NULL)
        return -ENOMEM;
    *ls = (struct listeners){ .config = config_hold(config), .refs = 1, .nworkers = nworkers };
    int err = -ENOMEM;
    ls->list = calloc(config->nlisteners == 0 ? 1 : config->nlisteners, sizeof *ls->list);
    if (ls->list == NULL)
        goto fail;
    for (uint32_t i = 0; i < config->nlisteners; i++) {
        struct listener *l = &ls->list[i];
        l->config = &config->listeners[i];
        l->set = ls;
        if ((l->fds = malloc(nworkers * sizeof *l->fds)) == NULL)
            goto fail;
        for (uint32_t k = 0; k < nworkers; k++)
            l->fds[k] = -1;
        ls->n++;
        smtp_config(config, l);
        if ((err = load_certificates(l, tickets, why)) != 0)
            goto fail;
        if (listeners_same(old, l) == NULL && (err = bind_sockets(l, nworkers, why)) != 0)
            goto fail;
    }
    *out = ls;
    return 0;
fail:
    listeners_rele(ls);
    return err;
}

void listeners_hold(struct listeners *ls)
{
    atomic_fetch_add(&ls->refs, 1);
}

void listeners_rele(struct listeners *ls)
{
    if (ls == NULL || atomic_fetch_sub(&ls->refs, 1) != 1)
        return;
    for (uint32_t i = 0; i < ls->n; i++) {
        struct listener *l = &ls->list[i];
        for (uint32_t k = 0; k < ls->nworkers; k++)
            if (l->fds[k] >= 0)
                close(l->fds[k]);
        free(l->fds);
        if (l->tls != NULL)
            tls_server_rele(l->tls);
    }
    free(ls->list);
    config_rele(ls->config);
    free(ls);
}
