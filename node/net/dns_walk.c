/* Follows a name's CNAMEs one by one, to tell a circle from a server that fails. One loop's thread. */
#include "node/net/dns_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define WALK_MAX 16 /* a longer chain is as bad as a circle: resolvers give up before */

struct dns_walk {
    struct dns *d;
    struct dns_ask *ask;
    dns_walk_fn *fn;
    void *ctx;
    unsigned n;
    char names[WALK_MAX + 1][DNS_NAME_MAX];
};

static void walk_finish(struct dns_walk *w, bool loop)
{
    dns_walk_fn *fn = w->fn;
    void *ctx = w->ctx;
    dns_walk_cancel(w);
    fn(ctx, loop);
}

static void walk_reply(void *ctx, const struct dns_reply *reply)
{
    struct dns_walk *w = ctx;
    w->ask = NULL;
    char *next = w->names[w->n];
    if (reply->status != DNS_OK || reply->n == 0 ||
        dns_name_from_wire(reply->data[0], (size_t)reply->len[0], next) != 0) {
        walk_finish(w, false);
        return;
    }
    for (unsigned i = 0; i < w->n; i++) {
        if (strcmp(w->names[i], next) == 0) {
            walk_finish(w, true);
            return;
        }
    }
    w->n++;
    if (w->n > WALK_MAX)
        walk_finish(w, true);
    else if (dns_ask(w->d, next, DNS_TYPE_CNAME, walk_reply, w, &w->ask) != 0)
        walk_finish(w, false);
}

int dns_walk(struct dns *d, const char *name, dns_walk_fn *fn, void *ctx, struct dns_walk **out)
{
    struct dns_walk *w = calloc(1, sizeof *w);
    if (w == NULL)
        return -ENOMEM;
    w->d = d;
    w->fn = fn;
    w->ctx = ctx;
    strncpy(w->names[0], name, DNS_NAME_MAX - 1);
    w->n = 1;
    int err = dns_ask(d, w->names[0], DNS_TYPE_CNAME, walk_reply, w, &w->ask);
    if (err != 0) {
        free(w);
        return err;
    }
    *out = w;
    return 0;
}

void dns_walk_cancel(struct dns_walk *w)
{
    if (w == NULL)
        return;
    dns_ask_cancel(w->ask);
    free(w);
}
