/* The mail of a simulated process: the real spool on a simulated disk, the real transfer, the real queue;
 * deliveries are drawn. See mail.c.
 */
#ifndef TEST_SIM_MAIL_H
#define TEST_SIM_MAIL_H

#include "node/core/egress.h"
#include "node/core/node.h"
#include "node/core/transfer_impl.h"
#include "node/queue/queue.h"
#include "test/sim/threads.h"

#define MAIL_CONNS 8
#define MAIL_RCPTS_MAX 8

struct mail_attempt {
    bool busy;
    struct queue_conn conn;
    struct queue_item *item;
    uint64_t id;
    uint32_t nrcpts, rcpts[MAIL_RCPTS_MAX];
    uint16_t attempts;
    int64_t due_ns;
};

/* Of a process; its memory is the process's. */
struct mail {
    struct sim_server *s;
    struct node node;
    struct worker worker;
    struct egress egress;
    bool open; /* the spool is, and what it had is in the queue */
    struct mail_attempt attempts[MAIL_CONNS];
    struct list stored; /* that were stored, and are in no queue yet */
    uint64_t ended_seq;
};

/* mail_cluster.c */
struct mail_barrier;
void mail_question(struct sim_server *s, const struct sim_packet *p);
void mail_answer(struct sim_server *s, const struct sim_packet *p);
/* The process that was asked is no more: so are the connections to it. */
void mail_unanswered(uint32_t server);
void mail_pending_drop(struct sim_server *s);

/* mail_disk.c: the simulated disk of the spool's tests, which takes its time. */
const struct disk *mail_disk(struct sim_server *s);

/* mail_check.c: what must hold of mail. Ids with any number of hops. */
void mail_check_begin(void);
void mail_check_handed(uint64_t id, uint32_t nrcpts);
void mail_check_accepted(struct sim_server *s, uint64_t id);
void mail_check_moves(uint64_t id); /* it may leave the node from now on */
void mail_check_moves_all(const struct sim_server *s);
void mail_check_queued(struct sim_server *s, uint64_t id, uint32_t rcpt);
void mail_check_delivered(struct sim_server *s, uint64_t id, uint32_t rcpt);
void mail_check_recorded(struct sim_server *s, uint64_t id, uint32_t rcpt);
void mail_check_killed(const struct sim_server *s);
void mail_check_opened(struct sim_server *s); /* all that the spool found is in the queue */
/* All processes run: nothing was lost. */
void mail_check_all(void);
/* True: nothing is left to be delivered or moved. */
bool mail_check_idle(void);
void mail_check_end(void);
void mail_check_pulse(const struct sim_server *s, uint32_t of);

#endif
