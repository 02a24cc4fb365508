#!/bin/sh
# Who gets what:  smtpd -d example.com -x '/path/to/deliver.sh "$@"'
send() { msmtp --file=/dev/null --host="$1" --port="$2" --from="$SENDER" -- "$3" </dev/stdin; }
changed=
for to do
    case $to in
    carol@*) new=carol@elsewhere.example ;;             # forward one user
    sales@*) new=bob@example.com ;;                     # an alias
    *+*@*) new=${to%%+*}@${to##*@} ;;                   # bob+lists is bob
    bob@* | dave@* | postmaster*) new=$to ;;            # these have mailboxes
    *) new=bob@example.com ;;                           # bob gets all the rest
    esac
    [ "$new" = "$to" ] || changed=yes
    shift && set -- "$@" "$new"
done
[ "$changed" ] || exit 0                                # smtpd keeps it as it is
for to do
    case $to in
    *@example.com) send localhost 2525 "$to" || exit ;; # to this server once more
    *) send relay.example 587 "$to" || exit ;;          # to a smart host
    esac
done
exit 99
