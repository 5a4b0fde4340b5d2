/* Whether a peer lives, judged by how long it has been silent. Pure. */
#include "gossip/gossip_health.h"

void gossip_pulse_init(struct gossip_pulse *p, int64_t now_ms)
{
    *p = (struct gossip_pulse){ .health = GOSSIP_NEVER_SEEN, .stepped_ms = now_ms };
}

bool gossip_pulse_heard(struct gossip_pulse *p, int64_t now_ms)
{
    bool changed = p->health != GOSSIP_ALIVE;
    *p = (struct gossip_pulse){ .health = GOSSIP_ALIVE, .stepped_ms = now_ms };
    return changed;
}

bool gossip_pulse_step(struct gossip_pulse *p, const struct gossip_health_rule *rule, int64_t now_ms)
{
    int64_t passed_ms = now_ms - p->stepped_ms;
    if (passed_ms <= 0)
        return false;
    p->stepped_ms = now_ms;
    p->silent_ms += passed_ms < rule->step_max_ms ? passed_ms : rule->step_max_ms;
    if (p->health == GOSSIP_ALIVE && p->silent_ms >= rule->suspect_ms) {
        p->health = GOSSIP_SUSPECT;
        return true;
    }
    if (p->health == GOSSIP_SUSPECT && p->silent_ms >= rule->dead_ms) {
        p->health = GOSSIP_DEAD;
        return true;
    }
    return false;
}
