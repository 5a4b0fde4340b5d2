/* A worker's side of the frozen list. */
#include "node/core/frozen.h"

#include "base/clock.h"
#include "base/ensure.h"
#include "base/err.h"
#include "base/log.h"
#include "node/core/cluster.h"
#include "node/core/egress.h"
#include "node/core/worker.h"
#include "node/ledger/ledger.h"

#include <stdlib.h>

struct frozen_msg {
    struct worker_msg msg;
    struct frozen_view *view;
};

/* The node is a member since a moment ago: from now on this worker can have tokens. */
static void join_ledger(struct worker *w)
{
    struct agent *agent = w->node->cluster == NULL ? NULL : cluster_agent(w->node->cluster);
    if (w->ledger != NULL || agent == NULL || w->stopping != 0)
        return;
    struct ledger_worker_config config = {
        .agent = agent, .loop = &w->loop, .boot_ns = clock_boot_ns, .wall_ms = clock_wall_ms
    };
    int err = ledger_worker_new(&config, &w->ledger);
    if (err != 0)
        log_error("worker", "worker %u can admit no mail: %s", w->index, err_text(err));
}

void worker_frozen(struct worker *w, struct frozen_view *v)
{
    frozen_view_rele(w->frozen);
    w->frozen = v;
    egress_frozen_changed(w->egress);
    join_ledger(w);
    if (w->ledger != NULL && w->stopping == 0)
        ledger_worker_publish(w->ledger, frozen_view_index(v));
}

static void run_open_gate(struct worker *w, struct worker_msg *msg)
{
    free(msg);
    if (!w->gated)
        return;
    w->gated = false;
    egress_frozen_changed(w->egress);
}

void frozen_gate_open(struct worker *w)
{
    struct worker_msg *msg = malloc(sizeof *msg);
    ensure(msg != NULL);
    *msg = (struct worker_msg){ .run = run_open_gate };
    worker_post_always(w, msg);
}

static void run_frozen(struct worker *w, struct worker_msg *msg)
{
    struct frozen_msg *m = (struct frozen_msg *)msg;
    worker_frozen(w, m->view);
    free(m);
}

void frozen_view_post(struct worker *w, struct frozen_view *v)
{
    struct frozen_msg *m = malloc(sizeof *m);
    ensure(m != NULL); /* a worker that never hears of a freeze would break the promise silently */
    *m = (struct frozen_msg){ .msg.run = run_frozen, .view = frozen_view_hold(v) };
    worker_post_always(w, &m->msg);
}
