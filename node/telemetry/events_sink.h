/* Where the event log's lines go: a file, standard output, the journal. May block. One thread at a time. */
#ifndef NODE_TELEMETRY_EVENTS_SINK_H
#define NODE_TELEMETRY_EVENTS_SINK_H

#include "node/telemetry/events.h"

struct events_sink {
    enum events_target target;
    char *path; /* own memory; NULL when there is none */
    int fd;     /* -1: none */
    bool torn;  /* the last write ended within a line */
};

/* 0 or -errno; on an error the sink is off. */
int events_sink_open(struct events_sink *s, enum events_target target, const char *path);
void events_sink_close(struct events_sink *s);

/* Whole lines. Returns 0, or -errno; `*lost` is the number of lines that were not written. */
int events_sink_write(struct events_sink *s, const char *p, size_t n, uint64_t *lost);

#endif
