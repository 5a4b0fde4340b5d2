/* How long each site's greylisting lasts, learnt from what became of earlier mail: the waits that were too
 * short and those that were long enough. Also sites that greylist in words that no rule knows: they defer
 * first attempts, and take the second. Bounded: of too many sites the one that was met longest ago is
 * forgotten. Kept over restarts in a file. No clock: times are given. Any thread.
 */
#ifndef NODE_SHAPING_GREY_H
#define NODE_SHAPING_GREY_H

#include "base/span.h"

#include <stdbool.h>
#include <stdint.h>

#define GREY_SITES_MAX 10000
#define GREY_SITE_MAX 255 /* bytes of a name; longer ones are not learnt */
#define GREY_HINTS                                                                                           \
    3 /* so many second attempts in a row that were taken after a first was deferred:                        \
         a site greylists */
#define GREY_WAIT_MAX_MS 21600000
#define GREY_ENDLESS_TRIES 5     /* refused as greylisted so many times, */
#define GREY_ENDLESS_MS 14400000 /* or for so long: it never ends */

struct grey;
/* `file` is copied and may be missing; lines of it that make no sense are left out. NULL: nothing is kept. 0
 * or -ENOMEM. */
int grey_new(const char *file, int64_t now_ms, struct grey **out);
void grey_free(struct grey *g);

/* A recipient was deferred. */
struct grey_refusal {
    struct span site;
    bool sure;         /* as one that greylists; else: by a reply that no rule knows */
    uint32_t attempts; /* at it, this one included */
    int64_t waited_ms; /* since it was first refused so; 0: this is the first time */
    int64_t stated_ms; /* when to come again, as the server says; 0: it does not */
    int64_t usual_ms;  /* the delay to be assumed of a site that is not known */
};
struct grey_verdict {
    bool greylisted;
    int64_t wait_ms; /* until the next attempt */
    bool endless;    /* from now on the site counts as one whose greylisting never ends */
};
void grey_refused(struct grey *g, const struct grey_refusal *r, int64_t now_ms, struct grey_verdict *out);

/* A recipient was taken that had been deferred `waited_ms` ago the first time. True: the site does let mail
 * pass, other than it had seemed. */
bool grey_passed(struct grey *g, struct span site, bool sure, uint32_t attempts, int64_t waited_ms,
                 int64_t now_ms);

/* Sites that greylist; of these, those whose greylisting never ends, and the name of one of them. */
struct grey_counts {
    uint32_t sites, endless;
    char example[GREY_SITE_MAX + 1];
};
void grey_count(struct grey *g, struct grey_counts *out);

/* Something changed since the file was written. */
bool grey_changed(struct grey *g);
/* Writes it. 0 or -errno. Blocks. */
int grey_save(struct grey *g);

#endif
