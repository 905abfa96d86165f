# read_only_root.sh ROOT CMD...: run CMD as compose.yaml does, without Docker: nobody's root, which is read-only
set -eu
root=$1
shift
mount --make-rprivate /
mount --bind "$root" "$root"
mount -o remount,bind,ro "$root"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
for folder in bento/src/.feast bento/src/data prometheus_multiproc_dir compiled; do
    mount -t tmpfs -o uid=1034,gid=1034 tmpfs "$root/home/bentoml/$folder"
done
exec chroot --userspec=1034:1034 "$root" "$@"
