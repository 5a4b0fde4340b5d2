/* Attacks: see attack.h. */
#include "attack.h"

#include <stdio.h>
#include <stdlib.h>

enum { RNG_ATTACK = 90 };

#define ELSEWHERE 0x500000u /* networks that nobody of the senders uses */

const char *const traffic_attack_names[ATTACKS] = { "fast",     "one-server",   "slow",    "hopping",
                                                    "snowshoe", "low-and-slow", "washing", "blast",
                                                    "inside",   "device" };

static const struct {
    uint32_t mails, each_ms;
    uint32_t networks; /* 0: the owner's own */
    uint32_t stay;     /* so many mails from one, then another; 0: any */
    uint32_t unknown_permille;
    bool same_text;
} attacks[ATTACKS] = {
    [ATTACK_FAST] = { 20000, 180, 50, 0, 60, false },
    [ATTACK_SERVER] = { 20000, 180, 1, 0, 60, false },
    [ATTACK_SLOW] = { 5760, 30000, 8, 0, 60, false },
    [ATTACK_HOPPING] = { 5000, 6000, 300, 15, 60, false },
    [ATTACK_SNOWSHOE] = { 6000, 10000, 200, 0, 60, false },
    [ATTACK_LOW] = { 1440, 180000, 1, 0, 60, false },
    [ATTACK_WASHING] = { 3000, 12000, 2, 0, 400, true },
    [ATTACK_BLAST] = { 5000, 240, 1, 0, 30, true },
    [ATTACK_INSIDE] = { 5000, 240, 0, 0, 30, true },
    [ATTACK_DEVICE] = { 20000, 180, 50, 0, 60, false },
};

/* Who has some habits, and has not been robbed yet. */
static uint32_t victim(const struct traffic *t, struct traffic_rng *r, uint8_t role)
{
    for (uint32_t tries = 0; tries < 100000; tries++) {
        uint32_t i = traffic_below(r, t->nsenders);
        const struct traffic_sender *s = &t->senders[i];
        bool robbed = false;
        if (s->role != role || (role == TRAFFIC_EMPLOYEE && (s->mails < 4 || s->away_days > 0)))
            continue;
        for (size_t k = t->nevents; k-- > 0 && !robbed && t->events[k].attack;)
            robbed = t->events[k].sender == i;
        if (!robbed)
            return i;
    }
    fprintf(stderr, "nobody left to rob\n");
    abort();
}

uint32_t traffic_attack(struct traffic *t, enum traffic_attack_kind kind, int64_t begin_ms, uint32_t most,
                        bool clean, uint32_t who[ATTACK_ACCOUNTS])
{
    struct traffic_rng r = traffic_rng(t->seed, RNG_ATTACK, kind);
    uint32_t n = kind == ATTACK_SNOWSHOE ? ATTACK_ACCOUNTS : 1, own = traffic_below(&r, 1u << 16), seed = own;
    for (uint32_t i = 0; i < n;) {
        who[i] = victim(t, &r, kind == ATTACK_DEVICE ? TRAFFIC_SHOP : TRAFFIC_EMPLOYEE);
        bool twice = false;
        for (uint32_t k = 0; k < i; k++)
            twice = twice || who[k] == who[i];
        i += twice ? 0 : 1;
    }
    for (uint32_t i = 0; i < attacks[kind].mails && i < most; i++) {
        uint32_t sender = who[i % n], nets = attacks[kind].networks, at = traffic_below(&r, nets);
        if (attacks[kind].stay > 0)
            at = i / attacks[kind].stay % nets;
        uint32_t to = traffic_anybody(&r, 550);
        bool unknown = traffic_chance(&r, attacks[kind].unknown_permille) && !clean;
        int64_t at_ms =
            begin_ms + (int64_t)i * attacks[kind].each_ms + traffic_below(&r, attacks[kind].each_ms);
        uint32_t new_text = traffic_below(&r, 1u << 30), any_node = traffic_below(&r, TRAFFIC_NODES);
        traffic_rcpt_add(t, to, unknown ? TRAFFIC_UNKNOWN : TRAFFIC_DELIVERED);
        traffic_add(
            t,
            (struct traffic_event){
                .at_ms = at_ms,
                .sender = sender,
                .text_seed = attacks[kind].same_text ? seed : new_text,
                .place = nets == 0 ? t->senders[sender].place : ELSEWHERE + (own * 331 + at * 257) % 0xfffff,
                .kind = TRAFFIC_MAIL,
                .text = attacks[kind].same_text ? TRAFFIC_TEXT_SPAM : TRAFFIC_TEXT_NOTE,
                .node = (uint8_t)(attacks[kind].stay > 0 ? i / attacks[kind].stay % TRAFFIC_NODES : any_node),
                .attack = true });
    }
    return n;
}
