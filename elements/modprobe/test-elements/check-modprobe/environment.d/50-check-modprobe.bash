case " ${DIB_MODPROBE_BLACKLIST:-} " in
    *' pcspkr '*) ;;
    *) export DIB_MODPROBE_BLACKLIST="${DIB_MODPROBE_BLACKLIST:-} pcspkr" ;;
esac
