/* The cluster's part of /metrics: set when somebody asks for it. The values come from the cluster thread in
 * one look, so that they fit each other.
 */
#include "node/core/cluster_meters.h"

#include "node/core/cluster.h"

#include <stdlib.h>
#include <string.h>

struct look {
    struct admin_cluster_status s;
    uint64_t frozen_local;
};

static int count_frozen(void *arg, const struct machine_frozen *f)
{
    (void)f;
    ++*(uint64_t *)arg;
    return 0;
}

static void set(struct node *n, void *arg)
{
    const struct look *l = arg;
    const struct admin_cluster_status *s = &l->s;
    uint64_t voters = 0, silent = 0;
    bool certificate_ends = false;
    for (uint32_t i = 0; i < s->nnodes; i++) {
        const struct admin_node *o = &s->nodes[i];
        voters += strcmp(o->role, "voter") == 0;
        silent += strcmp(o->health, "self") != 0 && strcmp(o->health, "alive") != 0;
        certificate_ends = certificate_ends || (o->id == s->self && o->certificate_expires_soon);
    }
    const struct {
        enum metrics_id id;
        uint64_t value;
    } values[] = {
        { METRICS_CLUSTER_MEMBER, s->member },
        { METRICS_CLUSTER_QUORUM, s->quorum },
        { METRICS_CLUSTER_SESSION, s->session_usable },
        { METRICS_CLUSTER_HOLDING, cluster_is_holding(n->cluster) },
        { METRICS_CLUSTER_LEADER, s->member && s->leader == s->self },
        { METRICS_CLUSTER_NODES, s->nnodes },
        { METRICS_CLUSTER_NODES_SILENT, silent },
        { METRICS_CLUSTER_VOTERS, voters },
        { METRICS_CLUSTER_TERM, s->term },
        { METRICS_CLUSTER_APPLIED, s->applied },
        { METRICS_CLUSTER_DIGEST_MISMATCH, s->digest_mismatch },
        { METRICS_CLUSTER_CERTIFICATE_ENDS, certificate_ends },
        { METRICS_CLUSTER_LOG_BYTES, s->log_bytes },
        { METRICS_CLUSTER_SNAPSHOT_BYTES, s->snapshot_bytes },
        { METRICS_CLUSTER_STATE_BYTES, s->totals.bytes },
        { METRICS_CLUSTER_FROZEN, s->totals.frozen },
        { METRICS_CLUSTER_FROZEN_LOCAL, l->frozen_local },
        { METRICS_CLUSTER_COUNTERS, s->totals.counters },
        { METRICS_CLUSTER_COUNTERS_MAX, s->totals.counters_max },
        { METRICS_CLUSTER_TRANSFERS, s->totals.transfers },
        { METRICS_CLUSTER_TOKENS_CHARGED, s->totals.charged },
        { METRICS_CLUSTER_TOKENS_REFUNDED, s->totals.refunded },
        { METRICS_CLUSTER_TOKENS_BURNED, s->totals.burned },
        { METRICS_CLUSTER_GRANTS, s->totals.granted },
        { METRICS_CLUSTER_REFUSALS, s->totals.refused },
        { METRICS_CLUSTER_NO_ROOM, s->totals.no_room },
    };
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++)
        metrics_set(n->metrics, n->nworkers, values[i].id, METRICS_NONE, (int64_t)values[i].value);
}

void cluster_meters_set(struct node *n)
{
    struct look *l = n->cluster == NULL ? NULL : calloc(1, sizeof *l);
    if (l == NULL)
        return;
    int err = cluster_admin.status(n, &l->s);
    if (err == 0 && cluster_admin.frozen_local != NULL)
        err = cluster_admin.frozen_local(n, count_frozen, &l->frozen_local);
    if (err == 0)
        (void)node_request(n, set, l);
    free(l);
}
