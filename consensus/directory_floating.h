/* Between directory_ip.c and directory_floating.c: an address and its owner, and what comes on top when its
 * pool floats. All under the machine's lock, in apply.
 */
#ifndef CONSENSUS_DIRECTORY_FLOATING_H
#define CONSENSUS_DIRECTORY_FLOATING_H

#include "consensus/directory_impl.h"

struct ip {
    struct store_rec rec;
    struct span address, pool, ehlo;
    uint64_t node, next, move;
    uint64_t released; /* the session that did, since the move */
    uint32_t weight;
    uint8_t use;
    uint64_t version;
};

/* What only an address of a floating pool has: none while the pool's addresses are bound to their machines.
 */
struct lodging {
    struct store_rec rec;
    struct span address, words;
    uint64_t unsure,
        since;        /* this node may send without a session: it has not said that it knows of `since` */
    uint64_t home;    /* from where the cluster moved it by itself; 0: it is where it was put */
    uint64_t home_ms; /* home has a session since; 0: it has none */
    uint64_t lost, lost_ms; /* the owner's session ended; `lost` is the command's id, 0: it has one */
    uint64_t claim;         /* id of the command that gave it to its owner */
    uint8_t hook;           /* enum command_hook_state, of the owner */
};

struct ip *directory_ip_find(const struct machine *m, struct span address);
/* Hands over what may be handed over. `ended`: a session that is to be taken as ended, or 0. */
void directory_ip_settle(struct machine *m, const struct machine_at *at, struct ip *ip, uint64_t ended);
void directory_ip_tell(struct machine *m, const struct machine_at *at, const struct ip *ip);

/* NULL: it is bound. */
struct lodging *directory_lodging_find(const struct machine *m, struct span address);
/* The address's pool is another one, or its pool is told to float or not to. `fresh`: nobody has had it. */
int directory_lodging_sync(struct machine *m, const struct machine_at *at, const struct ip *ip, bool fresh);
/* The address goes. */
void directory_lodging_drop(struct machine *m, const struct ip *ip);
/* Its owner's last session ended, or it released the address; it still is ip->node. */
void directory_lodging_vacated(struct machine *m, const struct machine_at *at, const struct ip *ip);
/* ip->node has it from now on. */
void directory_lodging_owned(struct machine *m, const struct machine_at *at, const struct ip *ip);
/* An operator says where it belongs. */
void directory_lodging_placed(struct machine *m, const struct ip *ip);
/* (!) The node that may still send from it, and is not `next`; 0: there is none. */
uint64_t directory_lodging_waits_for(const struct machine *m, const struct ip *ip);
/* The same, whoever is next. */
uint64_t directory_lodging_unsure(const struct machine *m, const struct ip *ip);
/* A node that has released it knows of everything. */
void directory_lodging_released(struct machine *m, const struct ip *ip);
void directory_lodgings_member_removed(struct machine *m, uint64_t node);

#endif
