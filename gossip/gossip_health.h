/* Whether a peer lives, judged by how long it has been silent. Pure: it is given times, reads no clock.
 *
 *     never seen --heard--> alive --silent for suspect_ms--> suspect --silent for dead_ms--> dead
 *                             ^--------------------heard-----------------'----------------'
 *
 * Silence is summed from step to step, and no step counts for more than step_max_ms: when this process itself
 * stood still (a paused machine, a stalled disk), the others are not to blame for what it did not hear
 * meanwhile.
 */
#ifndef GOSSIP_GOSSIP_HEALTH_H
#define GOSSIP_GOSSIP_HEALTH_H

#include "gossip/gossip.h"

struct gossip_health_rule {
    int64_t suspect_ms, dead_ms; /* both since it was last heard */
    int64_t step_max_ms;
};

struct gossip_pulse {
    enum gossip_health health;
    int64_t silent_ms;
    int64_t stepped_ms; /* when silence was last summed */
};

void gossip_pulse_init(struct gossip_pulse *p, int64_t now_ms);
/* True when its health changed; likewise below. */
bool gossip_pulse_heard(struct gossip_pulse *p, int64_t now_ms);
/* Passes at most one transition at a time: so that nobody is dead who was not suspect first. */
bool gossip_pulse_step(struct gossip_pulse *p, const struct gossip_health_rule *rule, int64_t now_ms);

#endif
