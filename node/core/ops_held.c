/* The admin API: how much this node holds. Admin threads. */
#include "node/core/cluster.h"
#include "node/core/held.h"
#include "node/core/ops.h"
#include "node/policy/policy.h"

#include <stdio.h>

void ops_held(void *ctx, struct admin_held *out)
{
    struct node *n = ctx;
    struct held_stats s;
    struct config *c = node_config(n);
    struct policy *p = n->cluster == NULL ? NULL : cluster_policy(n->cluster);
    held_stats(n->held, &s);
    *out = (struct admin_held){ .messages = s.messages,
                                .recipients = s.recipients,
                                .bytes = s.bytes,
                                .refused = s.refused,
                                .senders = s.senders,
                                .bounded = p != NULL };
    snprintf(out->node, sizeof out->node, "%s", c->name);
    if (p != NULL) {
        out->messages_max = p->held.messages;
        out->bytes_max = p->held.bytes;
        out->sender_messages_max = p->held.sender_messages;
        out->sender_bytes_max = p->held.sender_bytes;
        out->expire_ms = p->held.expire_ms;
        out->when_expired = p->held.expire_delete ? "delete" : "bounce";
        out->when_full = p->held.when_full == POLICY_HELD_REJECT ? "reject" : "defer";
    }
    policy_rele(p);
    config_rele(c);
}
