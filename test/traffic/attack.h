/* What thieves of accounts send, beside the ordinary mail of the week: to see how much leaves before rules
 * act. The account's owner goes on as before.
 */
#ifndef TEST_TRAFFIC_ATTACK_H
#define TEST_TRAFFIC_ATTACK_H

#include "traffic.h"

enum traffic_attack_kind {
    ATTACK_FAST,     /* 20,000 within an hour from 50 networks, no two texts alike */
    ATTACK_SERVER,   /* the same from a single network */
    ATTACK_SLOW,     /* 120 an hour from 8 networks for two days */
    ATTACK_HOPPING,  /* 600 an hour; each network and node for 15 mails only */
    ATTACK_SNOWSHOE, /* six accounts, 60 an hour each, another network for each mail */
    ATTACK_LOW,      /* 20 an hour, day and night, from one network */
    ATTACK_WASHING,  /* a list of which 40 % do not exist: 300 an hour */
    ATTACK_BLAST,    /* one text to 5,000, within 20 minutes, from elsewhere */
    ATTACK_INSIDE,   /* the same from the owner's own network */
    ATTACK_DEVICE,   /* a shop's account: 20,000 from 50 networks */
    ATTACKS
};
extern const char *const traffic_attack_names[ATTACKS];

#define ATTACK_ACCOUNTS 6 /* of SNOWSHOE; the others take one */

/* Adds it, or the first `most` mails of it; `begin_ms` since the beginning. `clean`: to a list without
 * addresses that do not exist. The accounts go to `who`; how many. */
uint32_t traffic_attack(struct traffic *t, enum traffic_attack_kind kind, int64_t begin_ms, uint32_t most,
                        bool clean, uint32_t who[ATTACK_ACCOUNTS]);

#endif
