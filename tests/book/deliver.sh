#!/bin/sh
# Who gets what:  smtpd -d example.com -x '/path/to/deliver.sh "$@"'
moved=
for to do
    case $to in
    carol@*) new=carol@elsewhere.example ;;     # forward one user
    sales@*) new=bob@example.com ;;             # an alias
    *+*@*) new=${to%%+*}@${to##*@} ;;           # bob+lists is bob
    bob@* | dave@* | postmaster*) new=$to ;;    # these have mailboxes
    *) new=bob@example.com ;;                   # bob gets all the rest
    esac
    [ "$new" = "$to" ] || moved=yes
    shift && set -- "$@" "$new"
done
[ "$moved" ] || exit 0                          # smtpd keeps it as it is
for to do                                       # to us once more, or to a smart host
    case $to in *@example.com) at=localhost port=2525 ;; *) at=relay.example port=587 ;; esac
    msmtp --host=$at --port=$port --from="$SENDER" -- "$to" </dev/stdin || exit
done
exit 99
