/* A server that says of all content that it is no spam, at once: for content.py, which measures what asking costs.
 * A thread for each connection.
 *
 *     turnpike-verdicts PORT        on loopback, until it is ended
 */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#define HEAD_MAX 65536

static const char answer[] =
    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 98\r\n\r\n"
    "{\"action\":\"no action\",\"score\":0.5,\"required_score\":15.0,\"symbols\":{\"A\":{\"name\":\"A\",\"score\":0.5}} }";

/* One request is read to its end. False: no more come. */
static int take(int fd)
{
    static const char length[] = "\nContent-Length:";
    char head[HEAD_MAX + 1], *end = NULL;
    size_t n = 0;
    while (end == NULL && n < HEAD_MAX) {
        ssize_t got = recv(fd, head + n, HEAD_MAX - n, 0);
        if (got <= 0)
            return 0;
        n += (size_t)got;
        head[n] = '\0';
        end = strstr(head, "\r\n\r\n");
    }
    const char *at = end == NULL ? NULL : strcasestr(head, length);
    if (at == NULL || at > end)
        return 0;
    size_t body = strtoul(at + sizeof length - 1, NULL, 10), have = n - (size_t)(end + 4 - head);
    while (have < body) {
        char rest[HEAD_MAX];
        ssize_t got = recv(fd, rest, sizeof rest, 0);
        if (got <= 0)
            return 0;
        have += (size_t)got;
    }
    return 1;
}

static void *serve(void *arg)
{
    int fd = (int)(intptr_t)arg, on = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    while (take(fd) && send(fd, answer, sizeof answer - 1, MSG_NOSIGNAL) == (ssize_t)(sizeof answer - 1))
        ;
    close(fd);
    return NULL;
}

int main(int argc, char **argv)
{
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    if (argc != 2 || fd < 0) {
        fprintf(stderr, "usage: turnpike-verdicts PORT\n");
        return 1;
    }
    a.sin_port = htons((uint16_t)strtoul(argv[1], NULL, 10));
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&a, sizeof a) != 0 || listen(fd, 512) != 0) {
        perror("turnpike-verdicts");
        return 1;
    }
    for (;;) {
        pthread_t thread;
        int client = accept(fd, NULL, NULL);
        if (client >= 0 && pthread_create(&thread, NULL, serve, (void *)(intptr_t)client) == 0)
            pthread_detach(thread);
        else if (client >= 0)
            close(client);
    }
}
