/* Mail in, on one worker: its listening sockets and the sessions of its clients. The worker's thread only.
 *
 *     accept --> [PROXY header] --> [TLS] --> greeting --> session.c: commands, checks --> receive.c:
 * content, spool --> 250 --> dispatch
 */
#ifndef NODE_CORE_INGRESS_H
#define NODE_CORE_INGRESS_H

#include "base/list.h"
#include "node/core/listener.h"
#include "node/core/worker.h"
#include "node/net/client_names.h"
#include "node/net/stream.h"

struct ingress_listener {
    struct stream_listener sl;
    struct list link;
    struct ingress *ingress;
    struct listener *l; /* its set is held */
    bool closing;
};

struct ingress {
    struct worker *w;
    struct list listeners;
    struct list sessions;
    uint32_t nsessions;
    uint32_t nlisteners; /* open handles, closing ones too */
    struct client_names *names; /* NULL: it is closed */
    bool stopping;
};

int ingress_new(struct worker *w, struct ingress **out);
/* Serves the sockets of a set: takes its own from those that stay, opens the new, closes those gone. */
void ingress_listen(struct ingress *in, struct listeners *ls);
/* Stops accepting; sessions between transactions get 421, others may finish theirs. */
void ingress_stop(struct ingress *in);
bool ingress_busy(const struct ingress *in);
/* Cuts what is left. */
void ingress_close(struct ingress *in);
void ingress_free(struct ingress *in);

/* session.c */
void session_accept(struct ingress_listener *il);
void session_stop_all(struct ingress *in);
void session_drop_all(struct ingress *in);
struct auth_request;
void session_auth_answer(struct auth_request *r);

#endif
