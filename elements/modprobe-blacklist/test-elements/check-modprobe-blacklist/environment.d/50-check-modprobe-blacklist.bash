case " ${DIB_MODPROBE_BLACKLIST:-} " in
    *' floppy '*) ;;
    *) export DIB_MODPROBE_BLACKLIST="${DIB_MODPROBE_BLACKLIST:-} floppy" ;;
esac
