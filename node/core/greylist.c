/* What the node has learnt of sites that greylist: see greylist.h. */
#include "node/core/greylist.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/list.h"
#include "base/log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static void save(struct greylist *g)
{
    int err = grey_save(g->known);
    if (err != 0)
        log_warn("greylisting", "what was learnt cannot be written: %s", err_text(err));
}

static void save_job(struct auth_job *job, int stopping)
{
    struct greylist *g = LIST_ITEM(job, struct greylist, job);
    if (!stopping) /* else greylist_close does it */
        save(g);
    atomic_store(&g->saving, false);
}

int greylist_open(const char *data_dir, struct greylist **out)
{
    char file[4096];
    struct greylist *g = calloc(1, sizeof *g);
    int err = g == NULL                                                                     ? -ENOMEM
              : snprintf(file, sizeof file, "%s/greylisting", data_dir) >= (int)sizeof file ? ERR_LIMIT
                                                                                            : 0;
    if (err == 0)
        err = grey_new(file, clock_wall_ms(), &g->known);
    if (err != 0) {
        log_error("greylisting", "cannot start: %s", err_text(err));
        free(g);
        return err;
    }
    g->job.run = save_job;
    *out = g;
    return 0;
}

void greylist_tick(struct greylist *g, struct auth_pool *pool)
{
    if (!grey_changed(g->known) || atomic_exchange(&g->saving, true))
        return;
    if (auth_pool_push(pool, &g->job) != 0)
        atomic_store(&g->saving, false); /* the next tick tries again */
}

void greylist_close(struct greylist *g)
{
    if (g == NULL)
        return;
    save(g);
    grey_free(g->known);
    free(g);
}
