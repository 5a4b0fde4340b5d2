/* What is known of those who are asked about content: see servers.h. */
#include "node/content/servers.h"

#include "base/clock.h"
#include "base/log.h"

#include <stdio.h>
#include <string.h>

void servers_init(struct servers *s)
{
    memset(s, 0, sizeof *s);
    pthread_mutex_init(&s->lock, NULL);
}

void servers_fini(struct servers *s)
{
    pthread_mutex_destroy(&s->lock);
}

static struct server *known(struct servers *s, const char *name)
{
    for (uint32_t i = 0; i < SERVERS_KNOWN; i++)
        if (strcmp(s->items[i].name, name) == 0)
            return &s->items[i];
    return NULL;
}

bool servers_rest(struct servers *s, const char *name, int64_t now_ms)
{
    struct server *one = known(s, name);
    if (one == NULL) {
        one = &s->items[0];
        for (uint32_t i = 1; i < SERVERS_KNOWN; i++)
            one = s->items[i].used_ms < one->used_ms ? &s->items[i] : one;
        pthread_mutex_lock(&s->lock);
        *one = (struct server){ .used_ms = now_ms };
        snprintf(one->name, sizeof one->name, "%s", name);
        pthread_mutex_unlock(&s->lock);
    }
    one->used_ms = now_ms;
    return one->rest_ms > now_ms;
}

void servers_answered(struct servers *s, const char *name)
{
    struct server *one = known(s, name);
    if (one == NULL || (one->failures == 0 && !one->told.down))
        return;
    if (one->told.down)
        log_info("content", "%s answers again", name);
    pthread_mutex_lock(&s->lock);
    one->failures = 0;
    one->rest_ms = 0;
    one->told = (struct server_told){ .down = false };
    pthread_mutex_unlock(&s->lock);
}

void servers_failed(struct servers *s, const char *name, bool unreachable, const char *why)
{
    struct server *one = known(s, name);
    if (one == NULL)
        return;
    bool was = one->told.down;
    pthread_mutex_lock(&s->lock);
    one->failures++;
    if (unreachable || one->failures >= SERVER_FAILURES || was) {
        one->rest_ms = clock_boot_ms() + SERVER_REST_MS;
        one->told.since_ms = was ? one->told.since_ms : clock_wall_ms();
        one->told.down = true;
        snprintf(one->told.why, sizeof one->told.why, "%s", why);
    }
    pthread_mutex_unlock(&s->lock);
    if (!was && one->told.down)
        log_warn("content", "%s does not answer: %s", name, why);
}

void servers_tell(struct servers *s, const char *name, struct server_told *out)
{
    pthread_mutex_lock(&s->lock);
    const struct server *one = known(s, name);
    *out = one == NULL ? (struct server_told){ .down = false } : one->told;
    pthread_mutex_unlock(&s->lock);
}
