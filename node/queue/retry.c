/* The retry schedule and the defaults. Pure functions. */
#include "node/queue/queue.h"

#include "base/ensure.h"

#define MINUTE_MS INT64_C(60000)
#define HOUR_MS (60 * MINUTE_MS)

void queue_config_default(struct queue_config *config)
{
    *config = (struct queue_config){
        .nretry = 7,
        .retry_ms = { 5 * MINUTE_MS, 10 * MINUTE_MS, 15 * MINUTE_MS, 30 * MINUTE_MS, HOUR_MS, 2 * HOUR_MS,
                      4 * HOUR_MS },
        .retry_jitter_pct = 10,
        .expire_ms = 96 * HOUR_MS,
        .expire_grace_ms = 15 * MINUTE_MS,
        .delay_notice_ms = 4 * HOUR_MS,
        .conns_start = 2,
        .conns_max = 20,
        .conns_total_max = 1000,
        .conns_share_pct = 50,
        .weight = { 4, 2, 1 },
        .down_after = 2,
        .reconnect_ms = 10000,
        .sites_kept_max = 10000,
        .sites_kept_ms = HOUR_MS,
    };
}

int64_t queue_retry_delay_ms(const struct queue_config *config, uint32_t attempts, uint64_t random)
{
    ensure(config->nretry >= 1);
    ensure(config->nretry <= QUEUE_RETRY_STEPS);
    uint32_t step = attempts == 0 ? 0 : attempts - 1;
    if (step >= config->nretry)
        step = config->nretry - 1;
    int64_t delay = config->retry_ms[step];
    int64_t spread = delay / 100 * config->retry_jitter_pct;
    if (spread <= 0)
        return delay;
    return delay - spread + (int64_t)(random % ((uint64_t)spread * 2 + 1));
}
