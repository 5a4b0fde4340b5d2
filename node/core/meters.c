/* Rates of the last minutes. */
#include "node/core/meters.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

#define TICK_MS 5000

struct meters {
    struct node *node;
    uv_timer_t timer;
    uv_mutex_t lock;
    struct meter_value values[METERS]; /* under the lock */
};

static uint64_t total_of(const struct metrics *m, enum meter which)
{
    int64_t sum = 0;
    switch (which) {
    case METER_RECEIVED:
        return (uint64_t)metrics_value(m, METRICS_RECIPIENTS_RECEIVED, METRICS_NONE);
    case METER_REJECTED:
        for (uint32_t i = METRICS_STAGE_CONNECT; i <= METRICS_STAGE_OTHER; i++)
            sum += metrics_value(m, METRICS_REJECTED, i);
        return (uint64_t)sum;
    case METER_AUTH_FAILED:
        return (uint64_t)metrics_value(m, METRICS_AUTH, METRICS_AUTH_FAILED);
    case METER_DELIVERED:
        return (uint64_t)(metrics_value(m, METRICS_RECIPIENTS, METRICS_OUTCOME_DELIVERED) +
                          metrics_value(m, METRICS_RECIPIENTS, METRICS_OUTCOME_RELAYED));
    case METER_DEFERRED:
        return (uint64_t)metrics_value(m, METRICS_RECIPIENTS, METRICS_OUTCOME_DEFERRED);
    case METER_BOUNCED:
        return (uint64_t)(metrics_value(m, METRICS_RECIPIENTS, METRICS_OUTCOME_BOUNCED) +
                          metrics_value(m, METRICS_RECIPIENTS, METRICS_OUTCOME_EXPIRED));
    case METERS:
        break;
    }
    return 0;
}

static void decay(double *mean, double rate, double minutes)
{
    double keep = exp(-(TICK_MS / 1000.0) / (60 * minutes));
    *mean = *mean * keep + rate * (1 - keep);
}

static void meters_timer_cb(uv_timer_t *timer)
{
    struct meters *m = timer->data;
    uv_mutex_lock(&m->lock);
    for (int i = 0; i < METERS; i++) {
        struct meter_value *v = &m->values[i];
        uint64_t total = total_of(m->node->metrics, (enum meter)i);
        double rate = (double)(total - v->total) / (TICK_MS / 1000.0);
        v->total = total;
        decay(&v->m1, rate, 1);
        decay(&v->m5, rate, 5);
        decay(&v->m15, rate, 15);
    }
    uv_mutex_unlock(&m->lock);
}

int meters_new(struct node *n, struct meters **out)
{
    struct meters *m = calloc(1, sizeof *m);
    if (m == NULL)
        return -ENOMEM;
    m->node = n;
    m->timer.data = m;
    int err = uv_mutex_init(&m->lock);
    if (err == 0)
        err = uv_timer_init(&n->loop, &m->timer);
    if (err == 0)
        err = uv_timer_start(&m->timer, meters_timer_cb, TICK_MS, TICK_MS);
    if (err != 0) {
        free(m);
        return err;
    }
    *out = m;
    return 0;
}

static void meters_closed_cb(uv_handle_t *handle)
{
    struct meters *m = handle->data;
    uv_mutex_destroy(&m->lock);
    free(m);
}

void meters_free(struct meters *m)
{
    uv_close((uv_handle_t *)&m->timer, meters_closed_cb);
}

void meters_read(struct meters *m, enum meter which, struct meter_value *out)
{
    uv_mutex_lock(&m->lock);
    *out = m->values[which];
    uv_mutex_unlock(&m->lock);
    out->total = total_of(m->node->metrics, which);
}
