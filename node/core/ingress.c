/* Mail in, on one worker: its listening sockets. */
#include "node/core/ingress.h"

#include "base/err.h"
#include "base/log.h"
#include "node/core/node.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

int ingress_new(struct worker *w, struct ingress **out)
{
    struct ingress *in = calloc(1, sizeof *in);
    if (in == NULL)
        return -ENOMEM;
    in->w = w;
    if ((in->names = client_names_new(&w->timers, &(struct client_names_config){ 0 })) == NULL) {
        free(in);
        return -ENOMEM;
    }
    list_init(&in->listeners);
    list_init(&in->sessions);
    *out = in;
    return 0;
}

void ingress_free(struct ingress *in)
{
    free(in);
}

static void ingress_listener_closed_cb(void *ctx)
{
    struct ingress_listener *il = ctx;
    il->ingress->nlisteners--;
    listeners_rele(il->l->set);
    free(il);
}

static void close_listener(struct ingress_listener *il)
{
    if (il->closing)
        return;
    il->closing = true;
    list_remove(&il->link);
    stream_listener_close(&il->sl, ingress_listener_closed_cb);
}

static void ingress_accept_cb(struct stream_listener *sl)
{
    session_accept(LIST_ITEM(sl, struct ingress_listener, sl));
}

static void open_listener(struct ingress *in, struct listener *l)
{
    int *fd = &l->fds[in->w->index];
    if (*fd < 0)
        return;
    struct ingress_listener *il = calloc(1, sizeof *il);
    int err = il == NULL ? -ENOMEM : 0;
    if (err == 0) {
        il->ingress = in;
        il->l = l;
        err = stream_listener_open(&il->sl, &in->w->streams, *fd, ingress_accept_cb, il);
    }
    if (err != 0) {
        log_error("listener", "%s: worker %u cannot listen: %s", l->config->name, in->w->index,
                  err_text(err));
        free(il);
        return;
    }
    *fd = -1;
    listeners_hold(l->set);
    in->nlisteners++;
    list_push_back(&in->listeners, &il->link);
}

void ingress_listen(struct ingress *in, struct listeners *ls)
{
    LIST_EACH_SAFE(link, &in->listeners)
    {
        struct ingress_listener *il = LIST_ITEM(link, struct ingress_listener, link);
        struct listener *next = listeners_same(ls, il->l);
        if (next == NULL) {
            close_listener(il);
            continue;
        }
        listeners_hold(ls);
        listeners_rele(il->l->set);
        il->l = next;
    }
    for (uint32_t i = 0; i < ls->n; i++)
        open_listener(in, &ls->list[i]);
}

void ingress_stop(struct ingress *in)
{
    in->stopping = true;
    LIST_EACH_SAFE(link, &in->listeners)
    close_listener(LIST_ITEM(link, struct ingress_listener, link));
    session_stop_all(in);
}

bool ingress_busy(const struct ingress *in)
{
    return in->nsessions > 0;
}

void ingress_close(struct ingress *in)
{
    session_drop_all(in);
    client_names_free(in->names); /* before the resolvers go */
    in->names = NULL;
}
