/* Between the files notify*.c; nobody else includes it. All of it is the notifying thread's, but for what
 * stands below the lock. */
#ifndef NODE_CORE_NOTIFY_IMPL_H
#define NODE_CORE_NOTIFY_IMPL_H

#include "base/list.h"
#include "node/core/notify.h"
#include "node/notify/body.h"
#include "node/notify/queue.h"
#include "node/notify/syslog.h"
#include "node/notify/web.h"
#include "node/policy/policy.h"

#include <pthread.h>
#include <stdatomic.h>

#define NOTIFY_LOOK_MS 250     /* between two looks at what is new */
#define NOTIFY_BURST 5         /* mails to one target within its group's time; then what waits is one mail */
#define NOTIFY_BACKOFF_MS 1000 /* after a failure; twice as long after each further one */
#define NOTIFY_BACKOFF_MAX_MS INT64_C(300000)
#define NOTIFY_READ_MAX 5000 /* lines in one look */

/* What is under way to a target. */
struct notify_batch {
    uint32_t n;
    struct notify_message messages[NOTIFY_BATCH_MAX]; /* texts in `told` */
    struct notify_told told[NOTIFY_BATCH_MAX];
    struct buf lines; /* what told points into */
};

struct notify_test {
    struct list link; /* of n->tests */
    const char *target;
    char id[NOTIFY_ID_MAX];
    bool taken, over; /* under lock */
    int err;
    char why[200];
};

struct notify_target {
    char name[64];                 /* empty: no target */
    const struct policy_target *p; /* of n->policy; NULL: it is in no policy any more */
    bool busy;
    struct notify_batch *batch;
    struct notify_syslog syslog;
    int64_t next_ms;   /* boottime: not before */
    int64_t flush_ms;  /* likewise of telling the cluster */
    uint64_t alert;    /* of the cluster: it was dealt with up to this one, as far as queueing goes */
    uint32_t failures; /* in a row */
    int64_t window_ms; /* boottime: since when mails are counted */
    uint32_t in_window;
    uint64_t sent, failed, lost;
    int64_t last_ok_ms, last_failed_ms; /* wall */
    char why[200];
    struct notify_test *test;
    struct buf test_line;
};

struct notify {
    struct node *node;
    pthread_t thread;
    atomic_bool stopping;
    struct notify_web *web;
    struct notify_queue *queue;
    struct policy *policy;
    uint64_t policy_version; /* the state's, when it was taken */
    bool policy_partly;      /* of its targets some have no slot yet */
    struct notify_target targets[POLICY_TARGETS_MAX];
    uint64_t line; /* of the event log: the last one that was looked at */
    bool reading;  /* `line` is known */
    char node_name[64], cluster_name[16];
    bool leads;
    int64_t leads_ms;     /* boottime: since when */
    uint64_t leads_alert; /* the last alert that there was then */
    bool settled;         /* what the node before was about to send has come or not */
    bool strays;          /* the state may know targets that the policy does not */
    bool alert_known;
    uint64_t alert; /* the last one that was looked at for the event log */
    int64_t trimmed_ms;

    pthread_mutex_t lock;
    pthread_cond_t news;
    struct list tests;
    bool closed;
    struct admin_notify_target status[POLICY_TARGETS_MAX];
    uint32_t nstatus;
    struct list mailed; /* notify_mail.c */
};

/* ---- notify.c ------------------------------------------------------------------------------------------ */

void notify_test_end(struct notify *n, struct notify_test *test, int err, const char *why);

/* ---- notify_send.c ------------------------------------------------------------------------------------- */

/* Begins to send what is due. */
void notify_send(struct notify *n, struct notify_target *t, int64_t now_ms);
/* What was under way has ended: `why` is empty when it was taken. */
void notify_sent(struct notify *n, struct notify_target *t, const char *why);
void notify_target_fini(struct notify_target *t);

/* ---- notify_alert.c ------------------------------------------------------------------------------------ */

/* Queues alerts that targets lack, if this node leads. */
void notify_alerts(struct notify *n, int64_t now_ms);
/* An event that the state tells of: it stands in the log, too. */
bool notify_is_alert(struct span event);
/* Has the cluster know what was taken here. */
void notify_alerts_flush(struct notify *n, struct notify_target *t, int64_t now_ms);

/* ---- notify_post.c ------------------------------------------------------------------------------------- */

/* Has a worker write the batch as a mail; notify_mail_ended tells what came of it. 0, or an error. */
int notify_mail_begin(struct notify *n, struct notify_target *t, const char *to, uint64_t more);
void notify_mail_ended(struct notify *n);

#endif
