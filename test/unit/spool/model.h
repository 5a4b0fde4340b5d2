/* A load on a spool and what must be true of it afterwards, whatever happened to the disk: the oracle of the
 * crash tests. Everything follows from a seed, so a crash point can be visited again.
 */
#ifndef TEST_SPOOL_MODEL_H
#define TEST_SPOOL_MODEL_H

#include "fixture.h"
#include "simdisk.h"

#define MODEL_MSGS 400
#define MODEL_RCPTS 4

struct model_rcpt {
    uint16_t version;    /* last update handed over; goes into `attempts` */
    uint16_t answered;   /* newest version that was answered as on disk */
    uint8_t states[64];  /* by version */
    bool terminal_tried; /* a terminal state, or a close, was handed over */
    bool terminal_answered;
    uint8_t terminal; /* by update, when that was tried */
    int32_t close_by; /* index of the report that closes it, or -1 */
};

struct model_msg {
    uint64_t id, seed;
    size_t size;
    uint32_t nrcpts;
    bool handed;    /* commit handed over */
    bool answered;  /* with 0 */
    bool refused;   /* with an error */
    int32_t closes; /* index of the message that it reports on, or -1 */
    uint32_t closes_rcpt;
    struct spool_ingest *open;
    struct model_rcpt rcpts[MODEL_RCPTS];
    /* as the last restart found it */
    bool found;
    uint8_t found_state[MODEL_RCPTS];
    uint16_t found_version[MODEL_RCPTS];
};

struct model_end {
    uint64_t id, seq;
    uint32_t rcpt;
    uint8_t state;
};

struct model {
    struct spool *s;
    const struct simdisk *sim; /* dead: what the process still says was never heard */
    uint64_t rng;
    struct model_msg msgs[MODEL_MSGS];
    uint32_t n;
    uint64_t highest_id;
    struct waiting *waiting;
    /* the history: what was told, and up to where it is durable */
    struct model_end *ends;
    uint32_t nends, ends_cap;
    uint64_t history_done;
    int failed;
    bool opening;
    uint64_t seq_seen;       /* of this life: must not go back */
    char wrong[256];         /* the first thing that was not as it must be */
    bool after_sync_failure; /* then an error answered does not say that the message is gone */
};

struct model *model_new(uint64_t seed);
void model_free(struct model *m);

/* Opens (no threads) and notes what is found; the error of spool_open. */
int model_open(struct model *m, struct simdisk *sim, uint64_t segment_bytes);
/* One step of load; false when the spool has failed. */
bool model_step(struct model *m);
/* Steps writer and background until nothing is left to do, the history following. */
void model_settle(struct model *m);
/* Lets go of the spool: orderly, or as a killed process would (nothing more reaches the disk). */
void model_close(struct model *m);
/* After model_open: is everything as it must be? False: see `wrong`. */
bool model_check(struct model *m);
/* After model_open and model_settle: has the history every ending that was answered? */
bool model_check_history(struct model *m);

#endif
