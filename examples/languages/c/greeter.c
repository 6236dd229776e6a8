/* A TCP service with POSIX sockets: for each line it is sent, a greeting with a number. One client at a time. */
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

static unsigned greeted; /* Kept for as long as the service runs. */

static void serve(int client) {
    FILE *lines = fdopen(client, "r");
    char name[64];
    while (lines != NULL && fscanf(lines, " %63[^\r\n]", name) == 1)
        dprintf(client, "hello %s, you are number %u\n", name, ++greeted);
    if (lines != NULL)
        fclose(lines);
    else
        close(client);
}

int main(void) {
    struct sockaddr_in here = {
        .sin_family = AF_INET,
        .sin_port = htons(7000),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(listener, (struct sockaddr *)&here, sizeof here) != 0 || listen(listener, 16) != 0) {
        perror("127.0.0.1:7000");
        return 1;
    }
    printf("listening on 127.0.0.1:7000\n");
    fflush(stdout);
    for (;;) {
        int client = accept(listener, NULL, NULL);
        if (client >= 0)
            serve(client);
    }
}
