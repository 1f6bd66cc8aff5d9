mod archives;
mod damaged;
mod datasets;
mod loading;
mod pillow;
